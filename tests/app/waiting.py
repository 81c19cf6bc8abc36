"""Work that waits: for a row that somebody else has locked, for a client that says no more."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from app.config import Config

WAITING = """SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name = 'maycole'
               AND wait_event_type = 'Lock'"""


async def until(condition: Any, *, within_s: int = 60) -> None:
    async with asyncio.timeout(within_s):
        while not await condition():
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def connected(config: Config) -> AsyncIterator[asyncpg.Connection]:
    """A connection that is not the server's, to look with: in a transaction it would see one moment."""
    connection = await asyncpg.connect(config.database_url)
    try:
        yield connection
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def held(config: Config, item_id: str) -> AsyncIterator[None]:
    """The row is locked until the block ends."""
    async with connected(config) as other, other.transaction():
        await other.execute("SELECT FROM inventory WHERE id = $1 FOR UPDATE", item_id)
        yield


async def hang_up_amid_a_body(url: str) -> None:
    """A client that is gone when the handler waits for the rest of what it sends."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(
        f"POST /api/auth/login HTTP/1.1\r\nHost: {parts.netloc}\r\nExpect: 100-continue\r\n"
        'Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"email":'.encode()
    )
    assert b"100 Continue" in await reader.readline(), "the handler waits for the body"
    writer.transport.abort()
