"""What domain tests share: a connection that sees only what is committed, and a look at the pool's health."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import asyncpg
import pytest

from app.config import Config
from domain import db

# Shorter than idle_in_transaction_session_timeout: after that Postgres itself takes back what was lost.
WITHIN_S = 6


@pytest.fixture
async def outside(url: str, config: Config) -> AsyncIterator[asyncpg.Connection]:
    """A connection beside the pool: it sees what is committed and nothing else."""
    connection = await asyncpg.connect(config.database_url)
    try:
        yield connection
    finally:
        await connection.close()


class Scratch:
    """A table of words that nothing else uses: its statements, and what is committed in it."""

    def __init__(self, outside: asyncpg.Connection) -> None:
        self._outside = outside
        self.name = f"scratch_{secrets.token_hex(6)}"
        self.add = f"INSERT INTO {self.name} (word) VALUES ($1)"  # noqa: S608 - a name of ours
        self.after = f"SELECT id, word FROM {self.name} WHERE id > $1 ORDER BY id"  # noqa: S608 - as above

    async def words(self) -> list[str]:
        """What others see, in the order of their ids."""
        return [row["word"] for row in await self._outside.fetch(self.after, 0)]


@pytest.fixture
async def scratch(outside: asyncpg.Connection) -> AsyncIterator[Scratch]:
    table = Scratch(outside)
    await outside.execute(
        f"""CREATE TABLE {table.name} (id bigserial PRIMARY KEY, word text NOT NULL);
            GRANT ALL ON {table.name}, {table.name}_id_seq TO {db.ROLE}"""
    )
    try:
        yield table
    finally:
        await outside.execute(f"DROP TABLE {table.name}")


@pytest.fixture
async def whole_pool(url: str) -> AsyncIterator[None]:
    """Whatever the test does to connections, the pool has all of them afterwards, and each one is sound."""
    yield
    await take_all_connections()


async def take_all_connections() -> None:
    """Take every connection the pool may have, at once. Raises TimeoutError if some never came back."""
    pool = db.engine.pool
    assert pool is not None
    async with AsyncExitStack() as stack:
        async with asyncio.timeout(WITHIN_S):
            held = [await stack.enter_async_context(pool.acquire()) for _ in range(pool.get_max_size())]
            assert {await connection.fetchval("SELECT 1") for connection in held} == {1}
            assert not any(connection.is_in_transaction() for connection in held)
