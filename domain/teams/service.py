"""Teams: tenants. Who is in them: members.py, invites.py; who may what: policy.py, roles.py; gone and back:
deletion.py; to another owner: transfer.py.

Owns    teams, team_members, team_transfers
Says    teams.created, teams.changed, teams.deleted, teams.restored, teams.purged, teams.member_added,
        teams.member_removed, teams.member_renamed, teams.role_changed, teams.transfer_offered,
        teams.transfer_accepted, teams.transfer_declined, teams.transfer_withdrawn
Rules   a team always has an owner; nobody grants or takes away more than they have; a team has at most
        members.MEMBERS_MAX members, and nobody is in more than membership.TEAMS_MAX teams.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import asyncpg
import msgspec
from msgspec import UNSET

from domain import db, ids, pages
from domain.actor import Actor
from domain.clock import now
from domain.errors import AnyOf, Conflict, FieldError, Invalid, Stale
from domain.events import same
from domain.pages import Page
from domain.record import record
from domain.teams import deletion, invites, membership, policy
from domain.teams.model import (
    METADATA_BYTES_MAX,
    NewTeam,
    Team,
    TeamBody,
    TeamChanged,
    TeamCreated,
)
from domain.teams.slugs import slug_of
from domain.teams.tables import TeamMembers, Teams
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


async def mine(actor: Actor, *, deleted: bool = False, limit: int, cursor: str | None) -> Page[Team]:
    """The teams that the caller is in, newest first; for an API key those that it reaches.

    With `deleted` those that the caller may restore instead.
    """
    policy.require_scope(actor, "team:read")
    scope = f"teams {actor.user} {deleted}"
    before = pages.unseal(cursor, scope=scope)[0] if cursor else None
    rows = await db.fetch(
        """SELECT t.* FROM teams t JOIN team_members m ON m.team_id = t.id
           WHERE m.user_id = $1 AND ($2::text IS NULL OR t.id < $2) AND ($4::text IS NULL OR t.id = $4)
             AND CASE WHEN $5::timestamptz IS NULL THEN t.deleted_at IS NULL
                      ELSE t.deleted_at > $5 AND m.role = 'owner' END
           ORDER BY t.id DESC LIMIT $3""",
        actor.user,
        before,
        limit + 1,
        actor.limits.team_id if actor.limits else None,
        now() - deletion.RESTORABLE_FOR if deleted else None,
    )
    return pages.cut(
        [db.as_struct(Team, row) for row in rows], limit, scope=scope, key=lambda team: [team.id]
    )


async def get(actor: Actor, team_id: str) -> Team:
    await policy.require(actor, team_id, "team:read")
    return await membership.team(team_id)


async def change(actor: Actor, team_id: str, body: TeamBody, *, if_version: AnyOf | None = None) -> Team:
    """Replace what people may edit; what changes nothing says nothing.

    Raises Stale where `if_version` lacks the current one, Conflict `slug_taken`.
    """
    given = {name: value for name, value in msgspec.structs.asdict(body).items() if value is not UNSET}
    _require_small(given.get("metadata", {}))
    async with db.transaction():
        await membership.lock(team_id)
        await policy.require(actor, team_id, "settings:write")
        before = await membership.team(team_id)
        Stale.unless(before, if_version)
        after = msgspec.structs.replace(before, **given)
        if same(after, before):
            return before
        after = msgspec.structs.replace(after, version=before.version + 1, updated_at=now())
        with _slug_clash():
            await Teams.update(
                {
                    Teams.name: after.name,
                    Teams.slug: after.slug,
                    Teams.metadata: after.metadata,
                    Teams.version: after.version,
                    Teams.updated_at: after.updated_at,
                }
            ).where(Teams.id == team_id)
        await record(actor, TeamChanged(team_id=team_id, before=before, after=after))
    return after


async def alone_in_personal(actor: Actor, team_id: str, *, since: datetime | None = None) -> None:
    """Nobody but its person is in a personal team any more, or invited to it, whoever let them in; or nobody
    who came since.
    """
    async with db.transaction():
        await membership.lock(team_id)
        for member in await membership.all_of(team_id):
            if member.user_id != actor.user and (since is None or member.joined_at >= since):
                await membership.leave(actor, member)
        await invites.revoke_all(actor, team_id)
        await membership.settle()


async def leave_all(actor: Actor) -> None:
    """The caller is going for good: out of every team; those that they are alone in go with them.

    Deleted teams count: they might be restored. One that loses its last owner so can not be any more.

    Raises Conflict `sole_owner`, naming in `teams` those that others are in and would have no owner left.
    """
    async with db.transaction():
        rows = await db.fetch(
            """SELECT t.* FROM teams t JOIN team_members m ON m.team_id = t.id
               WHERE m.user_id = $1 ORDER BY t.id FOR NO KEY UPDATE OF t""",
            actor.user,
        )
        await membership.hold_teams_of(actor.user)
        if await TeamMembers.count().where(TeamMembers.user_id == actor.user) != len(rows):
            raise Conflict("Your teams are changing at this moment: try again.", code="teams_changing")
        members = {row["id"]: await membership.all_of(row["id"]) for row in rows}
        living = [row for row in rows if row["deleted_at"] is None]
        orphans = [
            row
            for row in living
            if len(members[row["id"]]) > 1 and not {*await membership.open_owners(row["id"])} - {actor.user}
        ]
        if orphans:
            raise Conflict(
                "Make someone else an owner of these teams first, or delete them.",
                code="sole_owner",
                teams=[{"id": row["id"], "name": row["name"]} for row in orphans],
            )
        for row in rows:
            own = next(member for member in members[row["id"]] if member.user_id == actor.user)
            if row["deleted_at"] is not None:
                pass  # whoever restores it finds an owner of record
            elif len(members[row["id"]]) == 1:
                await deletion.bury(actor, db.as_struct(Team, row))
            elif own.role == "owner":
                await membership.step_down(actor, own.team_id, own.user_id)
            await membership.leave(actor, own)
        await membership.settle()


async def _create(actor: Actor, team_id: str, *, name: str, slug: str, personal: bool) -> Team:
    at = now()
    team = Team(
        id=team_id,
        name=name,
        slug=slug,
        owner_id=actor.user,
        personal=personal,
        metadata={},
        version=1,
        created_at=at,
        updated_at=at,
    )
    with _slug_clash():
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
    await record(actor, TeamCreated(team_id=team_id, team=team))
    await membership.join(team_id, await users.public(actor.user), "owner")
    return team


def _require_small(metadata: dict[str, Any]) -> None:
    if len(msgspec.json.encode(metadata)) > METADATA_BYTES_MAX:
        detail = f"They take more than {METADATA_BYTES_MAX} bytes as JSON."
        raise Invalid(detail, errors=(FieldError("/metadata", "invalid", detail),))


@contextmanager
def _slug_clash() -> Iterator[None]:
    """Turns the unique index's refusal into a Conflict."""
    try:
        yield
    except asyncpg.UniqueViolationError as taken:
        raise Conflict("Another team has this slug.", code="slug_taken") from taken
