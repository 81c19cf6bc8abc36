"""The last commit of a verb, held back until something stands beside it."""

import asyncio
import secrets
from contextlib import AbstractAsyncContextManager

import pytest

from domain import db, last_commit

pytestmark = pytest.mark.usefixtures("served")


@pytest.fixture
def name() -> str:
    return f"last commit {secrets.token_hex(8)}"


async def verb(name: str) -> None:
    """Counts in a commit of its own, and concludes with another."""
    await _write(f"{name} counted")
    async with last_commit.concluding():
        await _write(name)


async def _write(name: str) -> None:
    await db.execute("INSERT INTO sign_in_failures (key, failures, last_at) VALUES ($1, 0, now())", name)


async def _fail(transaction: AbstractAsyncContextManager[db.Unit], name: str) -> None:
    async with transaction:
        await _write(name)
        raise LookupError


async def there(name: str) -> list[str]:
    """What of it others see: from a task and a connection of their own."""
    sql = "SELECT key FROM sign_in_failures WHERE starts_with(key, $1) ORDER BY key"

    async def look() -> list[str]:
        assert db.engine.pool is not None
        return [row["key"] for row in await db.engine.pool.fetch(sql, name)]

    return await asyncio.create_task(look())


async def test_where_nobody_holds_it_back_it_commits_as_ever(name: str) -> None:
    await verb(name)
    assert await there(name) == [name, f"{name} counted"]


async def test_held_back_it_commits_together_with_what_stands_beside_it(name: str) -> None:
    with last_commit.holding() as held:
        await verb(name)
        assert await there(name) == [f"{name} counted"], "the count holds whatever comes of it"
        await held.commit(lambda: _write(f"{name} beside"))
    assert await there(name) == [name, f"{name} beside", f"{name} counted"]


async def test_what_cannot_stand_beside_it_undoes_it(name: str) -> None:
    async def fails() -> None:
        raise RuntimeError("it cannot be written")

    with last_commit.holding() as held:
        await verb(name)
        with pytest.raises(RuntimeError, match="it cannot be written"):
            await held.commit(fails)
    assert await there(name) == [f"{name} counted"]
    await verb(f"{name} again")
    assert f"{name} again" in await there(name), "and nothing is held any more"


async def test_a_last_transaction_that_failed_is_undone_and_what_is_beside_it_is_not(name: str) -> None:
    with last_commit.holding() as held:
        with pytest.raises(LookupError):
            await _fail(last_commit.concluding(), name)
        await held.commit(lambda: _write(f"{name} beside"))
    assert await there(name) == [f"{name} beside"]


async def test_another_task_and_an_inner_transaction_are_not_held_back(name: str) -> None:
    with last_commit.holding() as held:
        await asyncio.create_task(verb(name))
        assert await there(name) == [name, f"{name} counted"]
        async with db.transaction(), last_commit.concluding():
            await _write(f"{name} within")
        assert f"{name} within" in await there(name)
        assert held.unit is None


async def test_a_savepoint_takes_back_what_was_done_and_what_was_to_come(name: str) -> None:
    said: list[str] = []
    async with db.transaction() as unit:
        await _write(f"{name} before")
        await last_commit.savepoint(unit)
        unit.after_commit.append(lambda: said.append("it happened"))
        with pytest.raises(LookupError):
            await _fail(db.transaction(), name)
        await last_commit.back_to_savepoint(unit)
    assert (await there(name), said) == ([f"{name} before"], [])
