"""Membership: the rows of team_members, and the locks that they change under. No rights are asked here.

Changes of who is in a team happen one after another, under the team's row; of which teams somebody is in,
under a lock of that user's, taken after the team's own.
"""

import asyncpg
import msgspec

from domain import db, ids
from domain.actor import Actor
from domain.clock import now
from domain.errors import Conflict, NotFound
from domain.record import record
from domain.teams.model import Member, MemberRemoved, Team, TeamChanged
from domain.teams.tables import TeamMembers, Teams
from domain.users import service as users
from domain.users.model import PublicUser

TEAMS_MAX = 200
SELECT = """SELECT m.id, m.team_id, m.user_id, u.name, m.role, m.joined_at
            FROM team_members m JOIN users u ON u.id = m.user_id"""


async def lock(team_id: str) -> None:
    """Changes of who is in a team happen one after another."""
    await db.execute("SELECT FROM teams WHERE id = $1 FOR NO KEY UPDATE", team_id)


async def hold_teams_of(user_id: str) -> None:
    """Until the transaction ends this user joins no other team; after a team's own lock, never before it."""
    await db.execute("SELECT pg_advisory_xact_lock(hashtext($1))", f"teams of {user_id}")


async def join(team_id: str, user: PublicUser, role: str) -> Member:
    await hold_teams_of(user.id)
    if not await users.is_open(user.id):
        raise NotFound.of("user")
    if await team_count(user.id) >= TEAMS_MAX:
        raise Conflict(f"{user.name} is in {TEAMS_MAX} teams already.", code="too_many_teams")
    member = Member(team_id=team_id, user_id=user.id, name=user.name, role=role, joined_at=now())
    try:
        await TeamMembers.insert(
            TeamMembers(
                id=ids.new("mem"), team_id=team_id, user_id=user.id, role=role, joined_at=member.joined_at
            )
        )
    except asyncpg.UniqueViolationError as already:
        raise Conflict(f"{user.name} is in this team already.", code="already_a_member") from already
    return member


async def team_count(user_id: str) -> int:
    count: int = await db.fetchval(
        """SELECT count(*) FROM team_members m JOIN teams t ON t.id = m.team_id
           WHERE m.user_id = $1 AND t.deleted_at IS NULL""",
        user_id,
    )
    return count


async def leave(actor: Actor, member: Member) -> None:
    await TeamMembers.delete().where(
        TeamMembers.team_id == member.team_id, TeamMembers.user_id == member.user_id
    )
    await record(actor, MemberRemoved(team_id=member.team_id, member=member))


async def all_of(team_id: str) -> list[Member]:
    rows = await db.fetch(f"{SELECT} WHERE m.team_id = $1 ORDER BY m.joined_at, m.id", team_id)
    return [db.as_struct(Member, row) for row in rows]


async def one(team_id: str, user_id: str) -> Member:
    """Raises NotFound."""
    member = await find(team_id, user_id)
    if member is None:
        raise NotFound.of("member")
    return member


async def find(team_id: str, user_id: str) -> Member | None:
    row = await db.fetchrow(
        f"{SELECT} WHERE m.team_id = $1 AND m.user_id = $2",
        team_id,
        user_id,
    )
    return db.as_struct(Member, row) if row else None


async def holders(team_id: str, role: str) -> tuple[str, ...]:
    """The ids of the users who have this role in the team."""
    rows = await db.fetch(
        "SELECT user_id FROM team_members WHERE team_id = $1 AND role = $2 ORDER BY user_id", team_id, role
    )
    return tuple(row["user_id"] for row in rows)


async def step_down(actor: Actor, team_id: str, user_id: str) -> None:
    """One owner less: there must be another, who becomes the owner of record if this one was it."""
    row = await db.fetchrow("SELECT * FROM teams WHERE id = $1", team_id)
    assert row is not None, "it is locked"
    before = db.as_struct(Team, row)
    if before.personal and before.owner_id == user_id:
        raise Conflict("A personal team stays with its person.", code="personal_team")
    heir = await db.fetchval(
        """SELECT user_id FROM team_members WHERE team_id = $1 AND role = 'owner' AND user_id <> $2
           ORDER BY joined_at, id LIMIT 1""",
        team_id,
        user_id,
    )
    if heir is None:
        raise Conflict("A team always has an owner: make someone else one first.", code="last_owner")
    if before.owner_id != user_id:
        return
    after = msgspec.structs.replace(before, owner_id=heir, version=before.version + 1, updated_at=now())
    await Teams.update(
        {Teams.owner_id: heir, Teams.version: after.version, Teams.updated_at: after.updated_at}
    ).where(Teams.id == team_id)
    await record(actor, TeamChanged(team_id=team_id, before=before, after=after))
