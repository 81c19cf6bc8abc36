"""A team always has an owner: the database refuses whatever would leave it without, however it is tried."""

import asyncio

import asyncpg
import pytest

from app.config import Config
from domain import db
from domain.actor import Actor
from domain.auth import accounts
from domain.errors import Conflict
from domain.teams import deletion, members, membership
from domain.teams import service as teams
from domain.teams.model import RoleChange
from tests.domain.people import somebody, team_of

CROWD = 12


async def owners(team: str) -> set[str]:
    rows = await db.fetch("SELECT user_id FROM team_members WHERE team_id = $1 AND role = 'owner'", team)
    return {row["user_id"] for row in rows}


async def owner_of_record(team: str) -> str:
    found: str = await db.fetchval("SELECT owner_id FROM teams WHERE id = $1", team)
    return found


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM team_members WHERE team_id = $1 AND $2 <> ''",
        "DELETE FROM team_members WHERE user_id = $2 AND team_id = $1",
        "UPDATE team_members SET role = 'admin' WHERE team_id = $1 AND user_id = $2",
        "UPDATE team_members SET team_id = (SELECT id FROM teams WHERE owner_id <> $2 LIMIT 1) "
        "WHERE team_id = $1 AND user_id = $2",
        "UPDATE teams t SET owner_id = m.user_id FROM team_members m "
        "WHERE t.id = $1 AND owner_id = $2 AND m.team_id = t.id AND m.role = 'admin'",
        "INSERT INTO teams (id, name, slug, owner_id, personal, metadata, version, created_at, updated_at) "
        "SELECT $1 || 'x', name, slug || 'x', $2, false, '{}', 1, now(), now() FROM teams WHERE id = $1",
    ],
)
async def test_no_statement_leaves_a_team_without(outside: asyncpg.Connection, statement: str) -> None:
    ann, bob = await somebody("Ann"), await somebody("Bob")
    team = await team_of(ann, {"admin": bob})
    with pytest.raises(asyncpg.CheckViolationError) as refused:
        await outside.execute(statement, team, ann.user)
    assert refused.value.constraint_name == "teams_always_owned"
    assert (await owners(team), await owner_of_record(team)) == ({ann.user}, ann.user)


async def test_only_how_it_is_at_commit_counts(outside: asyncpg.Connection) -> None:
    ann, bob = await somebody("Ann"), await somebody("Bob")
    team = await team_of(ann, {"admin": bob})
    async with outside.transaction():
        await outside.execute("UPDATE team_members SET role = 'viewer' WHERE team_id = $1", team)
        await outside.execute("UPDATE teams SET owner_id = $2 WHERE id = $1", team, bob.user)
        await outside.execute(
            "UPDATE team_members SET role = 'owner' WHERE team_id = $1 AND user_id = $2", team, bob.user
        )
    assert (await owners(team), await owner_of_record(team)) == ({bob.user}, bob.user)


async def test_a_team_comes_back_only_with_an_owner(outside: asyncpg.Connection) -> None:
    ann = await somebody("Ann")
    team = await team_of(ann)
    await deletion.delete(ann, team)
    undelete = "UPDATE teams SET deleted_at = NULL WHERE id = $1"
    async with outside.transaction():
        await outside.execute(undelete, team)
        await outside.execute("UPDATE teams SET deleted_at = now() WHERE id = $1", team)
    await outside.execute("DELETE FROM team_members WHERE team_id = $1", team)
    with pytest.raises(asyncpg.CheckViolationError):
        await outside.execute(undelete, team)


async def test_the_table_of_members_is_not_emptied_past_the_rule(outside: asyncpg.Connection) -> None:
    with pytest.raises(asyncpg.RaiseError, match="never emptied"):
        await outside.execute("TRUNCATE team_members")


@pytest.mark.parametrize("isolation", ["read_committed", "repeatable_read", "serializable"])
@pytest.mark.parametrize("goes", ["DELETE FROM team_members", "UPDATE team_members SET role = 'viewer'"])
async def test_all_owners_go_at_once_by_sql_and_one_stays(config: Config, isolation: str, goes: str) -> None:
    crowd = [await somebody(f"Ann{number}") for number in range(CROWD)]
    team = await team_of(crowd[0])
    for one in crowd[1:]:
        async with db.transaction():
            await membership.join(team, await teams.users.public(one.user), "owner")
    connections = [await asyncpg.connect(config.database_url) for _ in crowd]
    try:
        transactions = [connection.transaction(isolation=isolation) for connection in connections]

        async def go(number: int) -> None:
            await transactions[number].start()
            me = crowd[number].user
            await connections[number].execute(f"{goes} WHERE team_id = $1 AND user_id = $2", team, me)
            # As somebody would who knows the rule, and has seen that others are there.
            await connections[number].execute(
                "UPDATE teams SET owner_id = $3 WHERE id = $1 AND owner_id = $2", team, me, crowd[-1].user
            )

        for number in range(CROWD):
            await go(number)
        outcomes = await asyncio.gather(*(one.commit() for one in transactions), return_exceptions=True)
    finally:
        for connection in connections:
            connection.terminate()
    refused = [outcome for outcome in outcomes if outcome is not None]
    assert refused, "not all can go"
    assert all(
        isinstance(each, asyncpg.CheckViolationError | asyncpg.SerializationError) for each in refused
    ), refused
    left = await owners(team)
    assert len(left) == len(refused), "whoever was told so has gone, and nobody else"
    assert await owner_of_record(team) in left
    if isolation == "read_committed":
        assert len(left) == 1


async def test_where_a_verb_forgets_the_rule_the_database_tells_it_as_a_conflict(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ann, bob = await somebody("Ann"), await somebody("Bob")
    team = await team_of(ann, {"admin": bob})

    async def forget(actor: Actor, team_id: str, user_id: str) -> None: ...

    async def somebody_else(team_id: str) -> list[str]:
        return [bob.user]

    monkeypatch.setattr(membership, "step_down", forget)
    monkeypatch.setattr(membership, "open_owners", somebody_else)
    for attempt in (
        lambda: members.change_role(ann, team, ann.user, RoleChange(role="viewer")),
        lambda: members.remove(ann, team, ann.user),
        lambda: accounts.close(ann),
    ):
        with pytest.raises(Conflict) as refused:
            await attempt()
        assert refused.value.problem == "last_owner"
    assert await owners(team) == {ann.user}


async def test_a_membership_knows_whether_its_team_is_deleted(outside: asyncpg.Connection) -> None:
    ann, bob = await somebody("Ann"), await somebody("Bob")
    team = await team_of(ann, {"viewer": bob})
    told = "SELECT count(*) FROM team_members WHERE team_id = $1 AND team_deleted_at IS NOT NULL"
    await outside.execute("UPDATE teams SET deleted_at = now() WHERE id = $1", team)
    assert await outside.fetchval(told, team) == 2, "also where nobody asked our code"
    await deletion.restore(ann, team)
    assert await outside.fetchval(told, team) == 0
