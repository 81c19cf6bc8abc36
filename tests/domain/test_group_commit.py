"""What a team's members make at once is one commit; each of it is whole, and nobody pays for another."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from app.config import Config
from domain import channels, db, group_commit, memory, streams
from domain.actor import Actor
from domain.errors import Conflict, Forbidden, NotFound, Unauthenticated
from domain.inventory import service as inventory
from domain.inventory.model import Item, NewItem
from domain.streams import Entry
from domain.teams import members, roles
from domain.teams.model import NewMember
from domain.teams.roles_model import NewRole
from tests.domain.people import somebody, team_of

pytestmark = pytest.mark.usefixtures("whole_pool")


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How much was made by each statement for several."""
    real, heard = group_commit._write, []

    async def write(group: Any, some: Sequence[Any]) -> list[Entry]:
        heard.append(len(some))
        return await real(group, some)

    monkeypatch.setattr(group_commit, "_write", write)
    return heard


@pytest.fixture
def heard() -> Iterator[list[Entry]]:
    """What is announced."""
    entries: list[Entry] = []
    streams.listeners.append(entries.extend)
    yield entries
    streams.listeners.remove(entries.extend)


@pytest.fixture
async def holder(url: str, config: Config) -> AsyncIterator[asyncpg.Connection]:
    """Who is in the way."""
    connection = await asyncpg.connect(config.database_url)
    yield connection
    await connection.close()


@asynccontextmanager
async def held_up(holder: asyncpg.Connection, team: str) -> AsyncIterator[None]:
    """Whatever is news in the team's inventory waits, once it has got so far, until the block ends."""
    channel = channels.inventory(team)
    await streams.open_head(channel)
    async with holder.transaction():
        await holder.execute("UPDATE stream_heads SET top = top WHERE channel = $1", channel)
        yield


async def waiting_pid(outside: asyncpg.Connection) -> int:
    """Of the one backend that waits for a lock, once it does."""
    async with asyncio.timeout(10):
        while True:
            pid: int | None = await outside.fetchval(
                """SELECT pid FROM pg_stat_activity
                   WHERE wait_event_type = 'Lock' AND datname = current_database()"""
            )
            if pid is not None:
                return pid
            await asyncio.sleep(0.01)


def making(actor: Actor, team: str, name: str, **more: Any) -> "asyncio.Task[Item]":
    return asyncio.create_task(inventory.create(actor, NewItem(name=name, quantity=1, team_id=team, **more)))


async def outcomes(tasks: Sequence["asyncio.Task[Item]"]) -> list[Any]:
    return await asyncio.gather(*tasks, return_exceptions=True)


async def names(outside: asyncpg.Connection, team: str) -> list[str]:
    """Of the items that are there; each has its movement, its news and its audit row, and these are all."""
    items = await outside.fetch("SELECT id, name FROM inventory WHERE team_id = $1 ORDER BY name", team)
    ids = {row["id"] for row in items}
    moved = await outside.fetch("SELECT item_id FROM stock_movements WHERE team_id = $1", team)
    told = await streams.read(channels.inventory(team), 0, limit=1000)
    trail = await outside.fetch(
        "SELECT seq, resource FROM audit_logs WHERE team_id = $1 AND resource_type = 'item' ORDER BY seq",
        team,
    )
    assert [entry.offset for entry in told] == list(range(1, len(items) + 1)), "dense, and one each"
    assert sorted(row["item_id"] for row in moved) == sorted(ids)
    assert sorted(row["resource"] for row in trail) == sorted(ids)
    in_the_trail = {entry.offset: entry for entry in await streams.read(channels.audit(team), 0, limit=1000)}
    assert all(row["resource"] in in_the_trail[row["seq"]].data for row in trail)
    assert all(
        each in entry.data for each, entry in zip((row["resource"] for row in trail), told, strict=True)
    )
    return [row["name"] for row in items]


async def test_what_is_made_at_once_is_one_commit_and_each_of_it_is_whole(
    outside: asyncpg.Connection, sizes: list[int], heard: list[Entry]
) -> None:
    ann = await somebody()
    team = await team_of(ann)
    heard.clear()
    made = await asyncio.gather(*(making(ann, team, f"Tea {n:02}") for n in range(30)))
    assert sum(sizes) == 30
    assert len(sizes) < 10, "hardly anything by itself"
    assert await names(outside, team) == [item.name for item in made]
    told = [entry for entry in heard if entry.channel == channels.inventory(team)]
    assert told == await streams.read(channels.inventory(team), 0, limit=100)


async def test_teams_do_not_wait_for_each_other(
    outside: asyncpg.Connection, holder: asyncpg.Connection
) -> None:
    ann = await somebody()
    busy, other = await team_of(ann), await team_of(ann)
    async with held_up(holder, busy):
        waits = making(ann, busy, "Tea")
        await waiting_pid(outside)
        assert (await making(ann, other, "Coffee")).name == "Coffee"
        assert not waits.done()
    assert (await waits).name == "Tea"


async def test_nobody_pays_for_what_another_sends(outside: asyncpg.Connection, sizes: list[int]) -> None:
    ann, bob = await somebody(), await somebody("Bob")
    team = await team_of(ann, {"member": bob})
    many = [making(ann, team, f"Tea {n}") for n in range(5)]
    clash = [making(bob, team, f"Mate {n}", sku="M") for n in range(2)]
    too_long = making(bob, team, "x" * 201)
    said = await outcomes([*many, *clash, too_long])
    assert max(sizes) > 1, "they were together"
    assert [item.name for item in said[:5]] == [f"Tea {n}" for n in range(5)]
    [refused] = [one for one in said[5:7] if not isinstance(one, Item)]
    assert isinstance(refused, Conflict)
    assert refused.problem == "sku_taken"
    assert isinstance(said[7], asyncpg.CheckViolationError)
    there = await names(outside, team)
    assert there[1:] == [f"Tea {n}" for n in range(5)]
    assert there[0] in ("Mate 0", "Mate 1")


async def test_a_right_is_asked_for_again_in_the_commit(
    outside: asyncpg.Connection, sizes: list[int]
) -> None:
    ann, bob, cid = await somebody(), await somebody("Bob"), await somebody("Cid")
    team = await team_of(ann, {"member": bob, "admin": cid})
    await asyncio.gather(*(making(who, team, "First") for who in (ann, bob, cid)))
    # By hand, so that this process still remembers what they may.
    await outside.execute(
        "UPDATE team_members SET role = 'viewer' WHERE team_id = $1 AND user_id = $2", team, bob.user
    )
    await outside.execute("DELETE FROM team_members WHERE team_id = $1 AND user_id = $2", team, cid.user)
    sizes.clear()
    said = await outcomes([making(who, team, "Second") for who in (ann, bob, cid)])
    assert sizes, "they were let in by what is remembered"
    assert said[0].name == "Second"
    assert [type(one) for one in said[1:]] == [Forbidden, NotFound]
    assert (await names(outside, team)).count("Second") == 1


async def test_a_session_is_asked_about_again_in_the_commit(
    outside: asyncpg.Connection, sizes: list[int]
) -> None:
    ann, bob = await somebody(), await somebody("Bob")
    team = await team_of(ann, {"member": bob})
    await outside.execute("UPDATE user_sessions SET revoked_at = now() WHERE id = $1", bob.session_id)
    said = await outcomes([making(who, team, "Tea") for who in (ann, bob)])
    assert sizes
    assert isinstance(said[0], Item)
    assert isinstance(said[1], Unauthenticated)
    assert said[1].problem == "session_over"
    with pytest.raises(Unauthenticated):
        async with db.transaction():
            await inventory.create(bob, NewItem(name="Tea", quantity=1, team_id=team))
    assert await names(outside, team) == ["Tea"]


async def test_a_role_of_the_teams_own_is_held_in_a_transaction(
    outside: asyncpg.Connection, sizes: list[int]
) -> None:
    ann, bob = await somebody(), await somebody("Bob")
    team = await team_of(ann)
    await roles.define(ann, team, NewRole(name="counter", permissions=["inventory:write"]))
    await members.add(ann, team, NewMember(user_id=bob.user, role="counter"))
    await making(bob, team, "Tea")
    assert sizes == []
    assert await names(outside, team) == ["Tea"]


async def test_whoever_goes_while_they_wait_makes_nothing_and_later_it_is_made_and_announced(
    outside: asyncpg.Connection, holder: asyncpg.Connection, sizes: list[int], heard: list[Entry]
) -> None:
    ann = await somebody()
    team = await team_of(ann)
    async with held_up(holder, team):
        first = making(ann, team, "First")
        await waiting_pid(outside)
        second, third = making(ann, team, "Second"), making(ann, team, "Third")
        await asyncio.sleep(0.1)
        assert sizes == [1]
        first.cancel()
        second.cancel()
        await asyncio.wait({first, second})
        heard.clear()
    assert first.cancelled()
    assert second.cancelled()
    assert (await third).name == "Third"
    assert await names(outside, team) == ["First", "Third"]
    assert [e.offset for e in heard if e.channel == channels.inventory(team)] == [1, 2]


async def test_a_connection_that_is_lost_is_lost_for_all_of_them_and_nothing_is_made(
    outside: asyncpg.Connection, holder: asyncpg.Connection, sizes: list[int]
) -> None:
    ann = await somebody()
    team = await team_of(ann)
    async with held_up(holder, team):
        many = [making(ann, team, f"Tea {n}") for n in range(3)]
        await outside.execute("SELECT pg_terminate_backend($1)", await waiting_pid(outside))
        said = await outcomes(many)
    assert sizes == [3]
    assert all(isinstance(one, db.UNREACHABLE) for one in said), said
    assert await names(outside, team) == []
    assert (await making(ann, team, "Tea")).name == "Tea"


async def test_a_listener_that_fails_fails_those_whose_news_it_was(
    outside: asyncpg.Connection, sizes: list[int], heard: list[Entry]
) -> None:
    ann = await somebody()
    team = await team_of(ann)

    def fails(entries: Sequence[Entry]) -> None:
        if any('"Tea 1"' in entry.data for entry in entries):
            raise RuntimeError("a bug")

    streams.listeners.insert(0, fails)
    try:
        said = await outcomes([making(ann, team, f"Tea {n}") for n in range(3)])
    finally:
        streams.listeners.remove(fails)
    assert max(sizes) > 1
    assert [type(one) for one in said] == [Item, RuntimeError, Item]
    assert await names(outside, team) == ["Tea 0", "Tea 1", "Tea 2"], "it is committed all the same"
    assert (await making(ann, team, "Tea 3")).name == "Tea 3"


async def test_inside_a_transaction_it_is_a_part_of_that(
    outside: asyncpg.Connection, sizes: list[int]
) -> None:
    ann = await somebody()
    team = await team_of(ann)
    memory.forget(ann.user)

    async def undone() -> None:
        async with db.transaction():
            await inventory.create(ann, NewItem(name="Undone", quantity=1, team_id=team))
            raise RuntimeError("undo")

    with pytest.raises(RuntimeError, match="undo"):
        await undone()
    async with db.transaction():
        await inventory.create(ann, NewItem(name="Tea", quantity=1, team_id=team))
        assert await names(outside, team) == []
    assert await names(outside, team) == ["Tea"]
    assert sizes == []
