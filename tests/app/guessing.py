"""Guessing at passwords, from addresses of one's own, and what it costs the server."""

import contextlib
import itertools
import secrets
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from domain import db
from domain.auth import attempts, passwords
from domain.clock import now
from tests.factories import Api

OF_ASYNCPG = ("typeinfo_tree", "'jit'")  # what it asks for itself, once on each connection
_signing_in: ContextVar[bool] = ContextVar("signing_in", default=False)
_places = itertools.count(secrets.randbelow(2**20))


@contextlib.asynccontextmanager
async def elsewhere(url: str) -> AsyncIterator[Api]:
    """The API as it is seen from an address that nobody else has."""
    place = next(_places)
    address = f"127.{1 + (place >> 16) % 200}.{(place >> 8) % 256}.{1 + place % 254}"
    transport = httpx.AsyncHTTPTransport(local_address=address)
    async with httpx.AsyncClient(base_url=url, timeout=20, transport=transport) as client:
        yield Api(client)


@contextlib.contextmanager
def hashes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Everything that is hashed in this block, of any password: `verify` or `hash`."""
    seen: list[str] = []

    real = passwords._off_the_loop

    async def watched(work: Any, *args: str) -> Any:
        seen.append(work.__name__.lstrip("_"))
        return await real(work, *args)

    with monkeypatch.context() as patch:
        patch.setattr(passwords, "_off_the_loop", watched)
        yield seen


@contextlib.asynccontextmanager
async def statements(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[str]]:
    """Every statement that signing in sends to Postgres in this block, BEGIN and COMMIT among them."""
    seen: list[str] = []

    def heard(query: Any) -> None:
        # Called later by the loop, in the context of whoever asked.
        if _signing_in.get() and not any(text in query.query for text in OF_ASYNCPG):
            seen.append(query.query)

    begin = attempts.begin

    async def begun(*args: Any) -> Any:
        _signing_in.set(True)
        return await begin(*args)

    monkeypatch.setattr(attempts, "begin", begun)
    pool = db.engine.pool
    assert pool is not None
    held = [await pool.acquire() for _ in range(pool.get_max_size())]
    loggers = [connection._con for connection in held]
    for connection in held:
        await pool.release(connection)
    for logger in loggers:
        logger.add_query_logger(heard)
    try:
        yield seen
    finally:
        for logger in loggers:
            logger.remove_query_logger(heard)


async def trail(user_id: str) -> list[asyncpg.Record]:
    """What the trail has of failed attempts for this account, oldest first."""
    return await db.fetch(
        """SELECT metadata->>'reason' AS reason, (metadata->>'attempts')::int AS attempts
           FROM audit_logs WHERE resource = $1 AND action = 'auth.login_failed' ORDER BY id""",
        user_id,
    )


class Clock:
    """The time that the counters go by: it passes when a test says so."""

    def __init__(self) -> None:
        self.present = now()

    def __call__(self) -> datetime:
        return self.present

    def passes(self, seconds: float) -> None:
        self.present += timedelta(seconds=seconds)
