"""Teams: tenants. Who is in them: members.py.

Owns    teams, team_members
Says    teams.created, teams.changed, teams.deleted, teams.member_added, teams.member_removed,
        teams.member_renamed, teams.role_changed
Rules   a team always has an owner; nobody grants or takes away more than they have; a team has at most
        members.MEMBERS_MAX members, and nobody is in more than membership.TEAMS_MAX teams.
"""

from collections.abc import Sequence
from datetime import datetime

import asyncpg

from domain import db, ids, pages
from domain.actor import Actor
from domain.clock import now
from domain.errors import Conflict
from domain.pages import Page
from domain.record import record
from domain.teams import membership, policy
from domain.teams.model import (
    Member,
    NewTeam,
    Team,
    TeamCreated,
    TeamDeleted,
)
from domain.teams.slugs import slug_of
from domain.teams.tables import Teams
from domain.users import service as users


async def create(actor: Actor, new: NewTeam) -> Team:
    """A team with the caller as its owner. Raises Conflict `slug_taken`, `too_many_teams`."""
    async with db.transaction():
        slug = new.slug or slug_of(new.name)
        return await _create(actor, ids.new("team"), name=new.name, slug=slug, personal=False)


async def create_personal(actor: Actor, team_id: str, *, name: str) -> Team:
    """The team that a new account starts with; `team_id` is already in the account's row."""
    async with db.transaction():
        return await _create(actor, team_id, name=name, slug=slug_of(name), personal=True)


async def mine(actor: Actor, *, limit: int, cursor: str | None) -> Page[Team]:
    """The teams that the caller is in, newest first; for an API key those that it reaches."""
    policy.require_scope(actor, "team:read")
    scope = f"teams {actor.user}"
    before = pages.unseal(cursor, scope=scope)[0] if cursor else None
    rows = await db.fetch(
        """SELECT t.* FROM teams t JOIN team_members m ON m.team_id = t.id
           WHERE m.user_id = $1 AND t.deleted_at IS NULL AND ($2::text IS NULL OR t.id < $2)
             AND ($4::text IS NULL OR t.id = $4)
           ORDER BY t.id DESC LIMIT $3""",
        actor.user,
        before,
        limit + 1,
        actor.limits.team_id if actor.limits else None,
    )
    return pages.cut(
        [db.as_struct(Team, row) for row in rows], limit, scope=scope, key=lambda team: [team.id]
    )


async def get(actor: Actor, team_id: str) -> Team:
    await policy.require(actor, team_id, "team:read")
    row = await db.fetchrow("SELECT * FROM teams WHERE id = $1", team_id)
    assert row is not None, "a role in a team needs the team"
    return db.as_struct(Team, row)


async def alone_in_personal(actor: Actor, team_id: str, *, since: datetime | None = None) -> None:
    """Nobody but its person is in a personal team any more, whoever let them in; or nobody who came since."""
    async with db.transaction():
        await membership.lock(team_id)
        for member in await membership.all_of(team_id):
            if member.user_id != actor.user and (since is None or member.joined_at >= since):
                await membership.leave(actor, member)


async def leave_all(actor: Actor) -> None:
    """The caller is going for good: out of every team; those that they are alone in go with them.

    Raises Conflict `sole_owner`, naming in `teams` those that others are in and would have no owner left.
    """
    async with db.transaction():
        rows = await db.fetch(
            """SELECT t.* FROM teams t JOIN team_members m ON m.team_id = t.id
               WHERE m.user_id = $1 AND t.deleted_at IS NULL ORDER BY t.id FOR NO KEY UPDATE OF t""",
            actor.user,
        )
        await membership.hold_teams_of(actor.user)
        if await membership.team_count(actor.user) != len(rows):
            raise Conflict("Your teams are changing at this moment: try again.", code="teams_changing")
        members = {row["id"]: await membership.all_of(row["id"]) for row in rows}
        orphans = [row for row in rows if _would_be_orphaned(members[row["id"]], actor.user)]
        if orphans:
            raise Conflict(
                "Make someone else an owner of these teams first, or delete them.",
                code="sole_owner",
                teams=[{"id": row["id"], "name": row["name"]} for row in orphans],
            )
        for row in rows:
            own = next(member for member in members[row["id"]] if member.user_id == actor.user)
            if len(members[row["id"]]) == 1:
                await _delete(actor, db.as_struct(Team, row))
            elif own.role == "owner":
                await membership.step_down(actor, own.team_id, own.user_id)
            await membership.leave(actor, own)


async def _create(actor: Actor, team_id: str, *, name: str, slug: str, personal: bool) -> Team:
    at = now()
    team = Team(
        id=team_id,
        name=name,
        slug=slug,
        owner_id=actor.user,
        personal=personal,
        version=1,
        created_at=at,
        updated_at=at,
    )
    try:
        await Teams.insert(
            Teams(
                id=team.id,
                name=team.name,
                slug=team.slug,
                owner_id=team.owner_id,
                personal=personal,
                created_at=at,
                updated_at=at,
            )
        )
    except asyncpg.UniqueViolationError as taken:
        raise Conflict("Another team has this slug.", code="slug_taken") from taken
    await record(actor, TeamCreated(team_id=team_id, team=team))
    await membership.join(team_id, await users.public(actor.user), "owner")
    return team


async def _delete(actor: Actor, team: Team) -> None:
    await Teams.update({Teams.deleted_at: now()}).where(Teams.id == team.id)
    await record(actor, TeamDeleted(team_id=team.id, team=team))


def _would_be_orphaned(members: Sequence[Member], without: str) -> bool:
    """Whether somebody would be left in the team, and no owner among them."""
    rest = [member for member in members if member.user_id != without]
    return bool(rest) and all(member.role != "owner" for member in rest)
