"""Connections of the pool: what each is made to be; waited for, and given back, within a bound.

What is told of this: `waiting_s()`, how long whoever is first in line waits already. It is one of the lines
that load is measured by (domain/lines.py), and 0 as long as there is a connection for everybody.
"""

import asyncio
import logging
import time
from functools import lru_cache
from typing import Any, Final

import asyncpg
import msgspec

from domain import lines, measures, tracing

log = logging.getLogger("maycole.db")

# Cancelling a statement takes a round trip. Who was cancelled at a deadline cannot wait for more.
GIVE_BACK_WITHIN_S: Final = 0.5
KINDS: Final = frozenset(
    {"SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "BEGIN", "COMMIT", "ROLLBACK", "SET", "LOCK"}
)

_waiting: dict[object, float] = {}  # in the order in which they came, which is that in which they are served


async def prepare(connection: asyncpg.Connection) -> None:
    """JSONB is Python on this side. Text passes as it is: Piccolo encodes before it sends."""
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=lambda value: value if isinstance(value, str) else msgspec.json.encode(value).decode(),
        decoder=msgspec.json.decode,
    )
    connection.add_query_logger(_took)


async def leave_as_is(connection: asyncpg.Connection) -> None:
    """asyncpg's own reset costs a round trip on each release; nothing of ours leaves session state behind."""


def waiting_s() -> float:
    """For how long the first in line has waited; 0 where nobody waits."""
    return time.monotonic() - next(iter(_waiting.values())) if _waiting else 0.0


lines.of_process.append(waiting_s)


def waiting() -> int:
    """How many are in line."""
    return len(_waiting)


async def take(pool: asyncpg.Pool, within_s: float) -> asyncpg.Connection:
    """The next free connection; give it back. Raises TimeoutError."""
    if not _waiting and pool.get_idle_size():  # a wait that is none needs no bound
        measures.took("db_pool_wait", 0.0)
        return await pool.acquire()
    place, began = object(), time.monotonic()
    _waiting[place] = began
    try:
        # Not `acquire(timeout=)`, which makes a task each time.
        async with asyncio.timeout(within_s):
            return await pool.acquire()
    finally:
        del _waiting[place]
        measures.took("db_pool_wait", time.monotonic() - began)


async def give_back(pool: asyncpg.Pool, connection: asyncpg.Connection) -> None:
    """What was given up is cancelled on the server first; if that takes too long, the wire is cut.

    Postgres then ends the statement by itself (statement_timeout).
    """
    try:
        await pool.release(connection, timeout=GIVE_BACK_WITHIN_S)
    except TimeoutError:
        log.warning("a connection was cut: its statement could not be cancelled in %g s", GIVE_BACK_WITHIN_S)


class Taken:
    """A connection until the block ends. Raises TimeoutError."""

    __slots__ = ("_connection", "_pool", "_within_s")

    def __init__(self, pool: asyncpg.Pool, within_s: float) -> None:
        self._pool = pool
        self._within_s = within_s

    async def __aenter__(self) -> asyncpg.Connection:
        self._connection = await take(self._pool, self._within_s)
        return self._connection

    async def __aexit__(self, *_: object) -> None:
        await give_back(self._pool, self._connection)


@lru_cache(maxsize=1024)
def _kind(statement: str) -> str:
    first = statement.split(None, 1)[:1]
    kind = first[0].rstrip(";").upper() if first else ""
    return kind if kind in KINDS else "OTHER"


def _took(query: Any) -> None:
    """asyncpg's word on a statement (LoggedQuery): its arguments are in it, and are not looked at."""
    kind = _kind(query.query)
    measures.took("db_statement", query.elapsed, kind)
    if tracing.tracer is not None:
        tracing.tracer.statement(kind, query.query, query.elapsed, query.exception)
