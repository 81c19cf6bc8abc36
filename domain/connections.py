"""Connections of the pool: waited for, and given back, within a bound.

What is told of this: `waiting_s()`, how long whoever is first in line waits already. It is what load is
measured by (app/pipeline/load.py), and 0 as long as there is a connection for everybody.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from typing import Final

import asyncpg

log = logging.getLogger("maycole.db")

# Cancelling a statement takes a round trip. Who was cancelled at a deadline cannot wait for more.
GIVE_BACK_WITHIN_S: Final = 0.5

_waiting: dict[object, float] = {}  # in the order in which they came, which is that in which they are served


def waiting_s() -> float:
    """For how long the first in line has waited; 0 where nobody waits."""
    return time.monotonic() - next(iter(_waiting.values())) if _waiting else 0.0


def waiting() -> int:
    """How many are in line."""
    return len(_waiting)


async def take(pool: asyncpg.Pool, within_s: float) -> asyncpg.Connection:
    """The next free connection; give it back. Raises TimeoutError."""
    place = object()
    _waiting[place] = time.monotonic()
    try:
        # Not `acquire(timeout=)`, which makes a task each time.
        async with asyncio.timeout(within_s):
            return await pool.acquire()
    finally:
        del _waiting[place]


async def give_back(pool: asyncpg.Pool, connection: asyncpg.Connection) -> None:
    """What was given up is cancelled on the server first; if that takes too long, the wire is cut.

    Postgres then ends the statement by itself (statement_timeout).
    """
    try:
        await pool.release(connection, timeout=GIVE_BACK_WITHIN_S)
    except TimeoutError:
        log.warning("a connection was cut: its statement could not be cancelled in %g s", GIVE_BACK_WITHIN_S)


@contextlib.asynccontextmanager
async def taken(pool: asyncpg.Pool, within_s: float) -> AsyncIterator[asyncpg.Connection]:
    """A connection until the block ends. Raises TimeoutError."""
    connection = await take(pool, within_s)
    try:
        yield connection
    finally:
        await give_back(pool, connection)
