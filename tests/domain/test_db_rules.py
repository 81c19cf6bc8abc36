"""What a transaction refuses: swallowed errors, other tasks, and waiting for ever."""

# ruff: noqa: PT012 - it is the end of a transaction that raises: the block around it is what is tested

import asyncio

import asyncpg
import pytest
from piccolo.engine.exceptions import TransactionError

from domain import db
from tests.domain.conftest import Scratch


async def test_an_error_swallowed_within_an_inner_transaction_dooms_the_whole(
    outside: asyncpg.Connection, scratch: Scratch, whole_pool: None
) -> None:
    async def inner() -> None:
        async with db.transaction():
            await db.execute(scratch.add, "inner")
            raise KeyError("inner")

    with pytest.raises(RuntimeError, match="swallowed"):
        async with db.transaction():
            await db.execute(scratch.add, "outer")
            try:
                await inner()
            except KeyError:
                pass
    assert await scratch.words() == []


async def test_an_inner_transaction_that_ends_well_commits_with_the_outer_one_and_not_before(
    outside: asyncpg.Connection, scratch: Scratch
) -> None:
    async with db.transaction() as outer:
        async with db.transaction() as inner:
            await db.execute(scratch.add, "inner")
        assert inner is outer
        assert await scratch.words() == []
    assert await scratch.words() == ["inner"]


async def test_a_statement_that_failed_in_silence_is_not_reported_as_a_commit(
    outside: asyncpg.Connection, scratch: Scratch, whole_pool: None
) -> None:
    said: list[str] = []
    with pytest.raises(asyncpg.InFailedSQLTransactionError):
        async with db.transaction() as unit:
            unit.after_commit.append(lambda: said.append("committed"))
            await db.execute(scratch.add, "lost")
            try:
                await db.execute("SELECT 1 / 0")
            except asyncpg.DivisionByZeroError:
                pass
    assert await scratch.words() == []
    assert said == []


@pytest.mark.parametrize("how", ["by statement", "by transaction"])
async def test_a_task_started_inside_a_transaction_may_not_use_it(
    how: str, outside: asyncpg.Connection, scratch: Scratch, whole_pool: None
) -> None:
    async def child() -> None:
        if how == "by statement":
            await db.execute(scratch.add, "child")
        else:
            async with db.transaction():
                pass

    async with db.transaction():
        await db.execute(scratch.add, "parent")
        [ending] = await asyncio.gather(child(), return_exceptions=True)
    assert isinstance(ending, RuntimeError)
    assert "a task started inside a transaction" in str(ending)
    assert await scratch.words() == ["parent"]


async def test_a_task_that_outlives_the_transaction_it_was_started_in_may_not_use_it_either(
    whole_pool: None,
) -> None:
    over = asyncio.Event()

    async def child() -> None:
        await over.wait()
        await db.execute("SELECT 1")

    async with db.transaction():
        task = asyncio.create_task(child())
    over.set()
    with pytest.raises(RuntimeError, match="a task started inside a transaction"):
        await task


async def test_within_a_snapshot_nothing_is_written_and_within_a_transaction_no_snapshot_begins(
    scratch: Scratch, whole_pool: None
) -> None:
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        async with db.snapshot():
            await db.execute(scratch.add, "never")
    with pytest.raises(TransactionError):
        async with db.transaction(), db.snapshot():
            pass


async def test_a_snapshot_sees_one_moment_and_a_transaction_sees_each_new_one(
    outside: asyncpg.Connection, scratch: Scratch
) -> None:
    async def count() -> int:
        return len(await db.fetch(scratch.after, 0))

    async with db.snapshot():
        assert await count() == 0
        await outside.execute(scratch.add, "meanwhile")
        assert await count() == 0
    async with db.transaction():
        assert await count() == 1
        await outside.execute(scratch.add, "meanwhile")
        assert await count() == 2


async def test_a_transaction_does_not_wait_for_ever_where_every_connection_is_taken(
    monkeypatch: pytest.MonkeyPatch, whole_pool: None
) -> None:
    monkeypatch.setattr(db, "CONNECT_WITHIN_S", 0.05)
    pool = db.engine.pool
    assert pool is not None
    held = [await pool.acquire() for _ in range(pool.get_max_size())]
    try:
        async with asyncio.timeout(10) as patience:
            with pytest.raises(TimeoutError):
                async with db.transaction():
                    pass
        assert not patience.expired(), "it gave up before we did"
    finally:
        for connection in held:
            await pool.release(connection)
