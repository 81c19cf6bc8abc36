"""Teams that go, and come back: deleted, restored within RESTORABLE_FOR, then purged.

A deleted team is absent for everything, and keeps everything: restoring it is one change of its row. What a
purge leaves is a tombstone that tells nothing: the audit trail, which is kept by rules of its own, and what
was booked there point at it.
"""

from datetime import timedelta
from typing import Final

import msgspec

from domain import db, jobs
from domain.actor import Actor
from domain.clock import now
from domain.errors import AnyOf, Conflict, NotFound, Stale
from domain.record import record
from domain.teams import membership, policy
from domain.teams.model import Team, TeamDeleted, TeamPurged, TeamRestored
from domain.teams.tables import TeamInvites, TeamMembers, TeamRoles, Teams, TeamTransfers

RESTORABLE_FOR: Final = timedelta(days=30)
PURGED_NAME: Final = "Deleted team"
AT_ONCE: Final = 100


async def delete(actor: Actor, team_id: str, *, if_version: AnyOf | None = None) -> None:
    """Raises Stale where `if_version` lacks the current one, Conflict `personal_team`."""
    async with db.transaction():
        await membership.lock(team_id)
        await policy.require(actor, team_id, "team:delete")
        before = await membership.team(team_id)
        Stale.unless(before, if_version)
        if before.personal:
            raise Conflict("A personal team goes with its person's account.", code="personal_team")
        await bury(actor, before)


async def bury(actor: Actor, before: Team) -> None:
    """Delete it, whoever asks, and tell everybody in it. The caller holds the team's lock."""
    at = now()
    after = msgspec.structs.replace(before, deleted_at=at, version=before.version + 1, updated_at=at)
    await _store(after)
    await TeamTransfers.delete().where(TeamTransfers.team_id == after.id)
    await record(actor, TeamDeleted(team_id=after.id, team=after, members=await _members(after.id)))


async def restore(actor: Actor, team_id: str, *, if_version: AnyOf | None = None) -> Team:
    """Have a deleted team back as it was; for those who owned it.

    Raises Conflict `not_deleted`, `too_many_teams`; NotFound for who did not own it, and when it is too late;
    Stale where `if_version` lacks the current one.
    """
    async with db.transaction():
        await membership.lock(team_id)
        before = await _deleted(actor, team_id)
        Stale.unless(before, if_version)
        await membership.hold_teams_of(actor.user)
        if await membership.team_count(actor.user) >= membership.TEAMS_MAX:
            raise Conflict(f"You are in {membership.TEAMS_MAX} teams already.", code="too_many_teams")
        # The owner of record may have closed their account meanwhile.
        owns = await TeamMembers.exists().where(
            TeamMembers.team_id == team_id,
            TeamMembers.user_id == before.owner_id,
            TeamMembers.role == "owner",
        )
        after = msgspec.structs.replace(
            before,
            deleted_at=None,
            owner_id=before.owner_id if owns else actor.user,
            version=before.version + 1,
            updated_at=now(),
        )
        await _store(after)
        await membership.settle()
        await record(actor, TeamRestored(team_id=team_id, team=after, members=await _members(team_id)))
    return after


@jobs.cron("teams.purge", every=timedelta(hours=1))
async def purge() -> None:
    """Teams that were deleted too long ago to be restored, and offers that were never answered."""
    await TeamTransfers.delete().where(TeamTransfers.expires_at < now())
    while True:
        rows = await db.fetch(
            "SELECT id FROM teams WHERE deleted_at <= $1 AND purged_at IS NULL LIMIT $2",
            now() - RESTORABLE_FOR,
            AT_ONCE,
        )
        for row in rows:
            await _purge(row["id"])
        if len(rows) < AT_ONCE:
            return


async def _purge(team_id: str) -> None:
    """Its name and metadata are gone, its slug is free, nobody is in it. Asked again, nothing happens."""
    async with db.transaction():
        # An id has a `_` in it, which no slug has.
        purged = await db.fetchval(
            """UPDATE teams SET name = $2, slug = id, metadata = '{}', purged_at = $3, updated_at = $3,
                                version = version + 1
               WHERE id = $1 AND deleted_at <= $4 AND purged_at IS NULL RETURNING id""",
            team_id,
            PURGED_NAME,
            now(),
            now() - RESTORABLE_FOR,
        )
        if purged is None:
            return
        for table in (TeamMembers, TeamInvites, TeamRoles):
            await table.delete().where(table.team_id == team_id)
        await record(Actor(), TeamPurged(team_id=team_id))


async def _deleted(actor: Actor, team_id: str) -> Team:
    """A team of the caller's that can be restored. Raises as restore does."""
    row = await db.fetchrow(
        """SELECT t.* FROM teams t JOIN team_members m ON m.team_id = t.id
           WHERE t.id = $1 AND m.user_id = $2 AND m.role = 'owner'""",
        team_id,
        actor.user,
    )
    if row is None:
        raise NotFound.of("team")
    team = db.as_struct(Team, row)
    if team.deleted_at is None:
        raise Conflict("This team is not deleted.", code="not_deleted")
    if team.deleted_at <= now() - RESTORABLE_FOR:
        raise NotFound.of("team")
    return team


async def _store(team: Team) -> None:
    await Teams.update(
        {
            Teams.deleted_at: team.deleted_at,
            Teams.owner_id: team.owner_id,
            Teams.version: team.version,
            Teams.updated_at: team.updated_at,
        }
    ).where(Teams.id == team.id)


async def _members(team_id: str) -> tuple[str, ...]:
    return tuple(member.user_id for member in await membership.all_of(team_id))
