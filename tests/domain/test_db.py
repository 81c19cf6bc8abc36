"""transaction(): all or nothing, and whatever happens at its end, the next one is sound.

The first tests run the same faults against Piccolo's own transaction, which shows that they can fail.
"""

# ruff: noqa: PT012 - it is the end of a transaction that raises: the block around it is what is tested

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest
from piccolo.engine.postgres import PostgresTransaction

from app.config import Config
from domain import db
from tests.domain.conftest import Scratch, take_all_connections
from tests.faults.faultproxy import Address, FaultProxy

POOL = 3


class Undo(Exception):
    """What a verb raises to roll back on purpose."""


class UpstreamEngine(db.Engine):
    """Piccolo's engine with Piccolo's own transaction."""

    def transaction(self, allow_nested: bool = True) -> PostgresTransaction:  # type: ignore[override]
        return PostgresTransaction(engine=self, allow_nested=allow_nested)


@pytest.fixture
async def upstream(url: str, config: Config) -> AsyncIterator[UpstreamEngine]:
    engine = UpstreamEngine(config={})
    engine.config = {"dsn": config.database_url}
    await engine.start_connection_pool(min_size=POOL, max_size=POOL)
    assert engine.pool is not None
    try:
        yield engine
    finally:
        engine.pool.terminate()
        engine.pool = None


async def fail_to_commit(connection: asyncpg.Connection, scratch: Scratch) -> None:
    """A row, and another one whose foreign key is only checked at COMMIT and then found to lead nowhere."""
    await connection.execute(scratch.add, "never")
    await connection.execute(
        """INSERT INTO users (id, email, name, is_staff, personal_team_id, version, created_at, updated_at)
           VALUES ('user_nobody', 'nobody@example.org', 'Nobody', false, 'team_nowhere', 1, now(), now())"""
    )


async def test_piccolos_own_transaction_lets_the_next_one_commit_what_it_rolls_back(
    upstream: UpstreamEngine, outside: asyncpg.Connection, scratch: Scratch
) -> None:
    async def one_request() -> None:
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            async with upstream.transaction() as started:
                await fail_to_commit(started.connection, scratch)
        with pytest.raises(Undo):
            async with upstream.transaction() as started:
                await started.connection.execute(scratch.add, "undone")
                raise Undo

    await asyncio.create_task(one_request())
    assert await scratch.words() == ["undone"], "this is the fault that domain/db.py repairs"


async def test_piccolos_own_transaction_keeps_a_connection_for_each_commit_that_fails(
    upstream: UpstreamEngine, scratch: Scratch
) -> None:
    async def one_request() -> None:
        async with upstream.transaction() as started:
            await fail_to_commit(started.connection, scratch)

    for _ in range(POOL):
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            await asyncio.create_task(one_request())
    assert upstream.pool is not None
    assert upstream.pool.get_idle_size() == 0, "this is the fault that domain/db.py repairs"


@pytest.mark.usefixtures("whole_pool")
async def test_after_a_commit_that_failed_the_next_transaction_of_the_same_task_rolls_back_and_commits(
    outside: asyncpg.Connection, scratch: Scratch
) -> None:
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        async with db.transaction() as unit:
            await fail_to_commit(unit.connection, scratch)
    with pytest.raises(Undo):
        async with db.transaction():
            await db.execute(scratch.add, "undone")
            raise Undo
    assert await scratch.words() == []
    async with db.transaction():
        await db.execute(scratch.add, "kept")
    assert await scratch.words() == ["kept"]


@pytest.mark.usefixtures("whole_pool")
async def test_more_failed_commits_than_the_pool_has_connections_leave_it_whole(scratch: Scratch) -> None:
    assert db.engine.pool is not None
    failures = 2 * db.engine.pool.get_max_size() + 1
    for _ in range(failures):
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            async with db.transaction() as unit:
                await fail_to_commit(unit.connection, scratch)

    async def one_request() -> None:
        async with db.transaction() as unit:
            await fail_to_commit(unit.connection, scratch)

    endings = await asyncio.gather(*(one_request() for _ in range(failures)), return_exceptions=True)
    assert {type(ending) for ending in endings} == {asyncpg.ForeignKeyViolationError}


@pytest.mark.usefixtures("whole_pool")
async def test_a_cancelled_transaction_leaves_nothing_behind(
    outside: asyncpg.Connection, scratch: Scratch
) -> None:
    inside = asyncio.Event()

    async def verb() -> None:
        async with db.transaction():
            await db.execute(scratch.add, "never")
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(verb())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await scratch.words() == []


@pytest.mark.usefixtures("whole_pool")
async def test_a_transaction_cancelled_in_its_first_statement_gives_its_connection_back() -> None:
    async def verb() -> None:
        async with db.transaction():
            await asyncio.Event().wait()

    pool = db.engine.pool
    assert pool is not None
    await take_all_connections()
    cut = 0
    # Piccolo's own transaction loses one connection each time: the pool would be empty long before the end.
    for _ in range(2 * pool.get_max_size()):
        free = pool.get_idle_size()
        task = asyncio.create_task(verb())
        await asyncio.sleep(0)
        cut += pool.get_idle_size() < free
        task.cancel()
        await asyncio.wait({task})
    assert cut, "some must have taken a connection, and wait for BEGIN, for this to mean anything"


@pytest.mark.usefixtures("whole_pool")
async def test_a_transaction_cancelled_at_any_of_its_steps_is_all_or_nothing_and_gives_its_connection_back(
    outside: asyncpg.Connection, scratch: Scratch
) -> None:
    async def verb(number: int) -> None:
        async with db.transaction():
            await db.execute(scratch.add, f"first {number}")
            await db.execute(scratch.add, f"second {number}")

    await take_all_connections()
    cut = number = 0
    whole = False
    while not whole:
        task = asyncio.create_task(verb(number))
        for _ in range(number // 3):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        whole = not task.cancelled() and task.exception() is None
        assert whole or task.cancelled(), task.exception()
        cut += not whole
        number += 1
    assert cut > POOL, "most of them must be cut for this to mean anything"
    found = await scratch.words()
    assert {f"first {n}" in found for n in range(number)} >= {True, False}, "some came through, some did not"
    assert [word.split()[1] for word in found if word.startswith("first")] == [
        word.split()[1] for word in found if word.startswith("second")
    ]


@pytest.mark.usefixtures("whole_pool")
async def test_a_connection_killed_in_the_middle_undoes_its_transaction_and_no_other(
    outside: asyncpg.Connection, scratch: Scratch
) -> None:
    with pytest.raises(db.UNREACHABLE):
        async with db.transaction():
            await db.execute(scratch.add, "never")
            pid = await db.fetchval("SELECT pg_backend_pid()")
            assert await outside.fetchval("SELECT pg_terminate_backend($1)", pid)
            await db.execute(scratch.add, "nor this")
    async with db.transaction():
        await db.execute(scratch.add, "kept")
    assert await scratch.words() == ["kept"]


@pytest.mark.usefixtures("whole_pool")
async def test_a_connection_killed_right_before_commit_is_an_error_and_not_a_commit(
    outside: asyncpg.Connection, scratch: Scratch
) -> None:
    with pytest.raises(db.UNREACHABLE):
        async with db.transaction():
            await db.execute(scratch.add, "never")
            pid = await db.fetchval("SELECT pg_backend_pid()")
            assert await outside.fetchval("SELECT pg_terminate_backend($1)", pid)
    assert await scratch.words() == []


@pytest.mark.usefixtures("whole_pool")
async def test_every_connection_killed_while_idle_is_replaced(
    outside: asyncpg.Connection, scratch: Scratch
) -> None:
    await take_all_connections()
    killed = await outside.fetch(
        """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
           WHERE application_name = 'maycole' AND pid <> pg_backend_pid()"""
    )
    assert killed, "somebody must be killed for this to mean anything"
    came_through = 0
    for _ in range(3 * len(killed)):
        try:
            async with db.transaction():
                await db.execute(scratch.add, "kept")
            came_through += 1
        except db.UNREACHABLE:
            pass
    assert came_through
    assert await scratch.words() == ["kept"] * came_through


async def test_a_server_that_did_not_answer_in_time_is_not_asked_to_roll_back(config: Config) -> None:
    """It would not answer that either: the caller would wait as long again, and hear of another error."""
    where = parse_qs(urlsplit(config.database_url or "").query)
    address = Address(path=f"{where['host'][0]}/.s.PGSQL.{where['port'][0]}")
    engine = db.Engine(config={})
    async with await FaultProxy.listen(address) as proxy:
        engine.config = {"dsn": config.database_url, "host": "127.0.0.1", "port": proxy.port}
        await engine.start_connection_pool(min_size=1, max_size=1, command_timeout=0.5, ssl=False)
        try:
            with pytest.raises(TimeoutError):
                async with engine.transaction() as started:
                    proxy.partition(to_server=False)
                    await started.connection.execute("SELECT 'is anybody there'")
            proxy.mend()
            async with engine.transaction() as started:
                assert await started.connection.fetchval("SELECT 1") == 1, "and the next one is sound"
        finally:
            assert engine.pool is not None
            engine.pool.terminate()


@pytest.fixture
async def beans(scratch: Scratch) -> Scratch:
    """A word that others may wait for."""
    await db.execute(scratch.add, "beans")
    return scratch


async def test_who_waits_for_a_lock_gives_up_before_the_statement_is_ended(
    outside: asyncpg.Connection, beans: Scratch
) -> None:
    """The time-out of a statement is another error, and comes later."""
    change = f"UPDATE {beans.name} SET word = $1"  # noqa: S608 - a name of ours
    async with outside.transaction():
        await outside.execute(change, "first")
        with pytest.raises(asyncpg.LockNotAvailableError):
            async with db.transaction():
                await db.execute(change, "second")
    assert await beans.words() == ["first"]


async def test_whoever_is_idle_in_a_transaction_is_rolled_back_and_holds_nobody_up(beans: Scratch) -> None:
    change = f"UPDATE {beans.name} SET word = $1"  # noqa: S608 - a name of ours
    gone: list[bool] = []

    async def idle() -> None:
        async with db.transaction() as unit:
            said = await db.fetchrow(
                "SELECT setting::int AS ms, source FROM pg_settings WHERE name = $1",
                "idle_in_transaction_session_timeout",
            )
            assert said is not None
            assert said["source"] == "client", "every connection of the pool begins with it"
            assert 1000 * db.COMMAND_WITHIN_S < said["ms"] <= 10_000, "no statement of ours is idle"
            await db.execute("SET LOCAL idle_in_transaction_session_timeout = '100ms'")
            await db.execute(change, "idle")
            connection = unit.connection
            connection.add_termination_listener(lambda _: gone.append(True))
            async with asyncio.timeout(10):
                while not gone:
                    await asyncio.sleep(0.01)
            await db.execute(change, "too late")

    with pytest.raises(db.UNREACHABLE):
        await asyncio.create_task(idle())
    assert gone
    async with db.transaction():
        await db.execute(change, "after it")
    assert await beans.words() == ["after it"]
    await take_all_connections()
