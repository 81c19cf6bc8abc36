"""Membership: the rows of team_members, and the locks that they change under. No rights are asked here.

Changes of who is in a team happen one after another, under the team's row; of which teams somebody is in,
under a lock of that user's, taken after the team's own.
"""

import asyncpg
import msgspec
from piccolo.columns import Or

from domain import db, ids
from domain.actor import Actor
from domain.clock import now
from domain.errors import Conflict, NotFound
from domain.record import record
from domain.teams.model import Member, MemberRemoved, RoleChanged, Team, TeamChanged
from domain.teams.tables import TeamMembers, Teams, TeamTransfers
from domain.users import service as users
from domain.users.model import PublicUser

TEAMS_MAX = 200
NO_OWNER = "A team always has an owner: make someone else one first."
_OWNED = ", ".join(f"teams_always_owned{which}" for which in ("", "_changed", "_made", "_restored"))
SELECT = """SELECT m.id, m.team_id, m.user_id, u.name, m.role, m.joined_at
            FROM team_members m JOIN users u ON u.id = m.user_id"""


async def lock(team_id: str) -> None:
    """Changes of who is in a team happen one after another."""
    await db.execute("SELECT FROM teams WHERE id = $1 FOR NO KEY UPDATE", team_id)


async def team(team_id: str) -> Team:
    """The team, which the caller knows to exist."""
    row = await db.fetchrow("SELECT * FROM teams WHERE id = $1", team_id)
    assert row is not None, "a role in a team needs the team"
    return db.as_struct(Team, row)


async def settle() -> None:
    """Let the database say now, not at COMMIT, whether every team of this transaction has an owner.

    The verbs see to it themselves; where one does not, this is the wall behind them (migrations/).
    Raises Conflict `last_owner`.
    """
    try:
        await db.execute(f"SET CONSTRAINTS {_OWNED} IMMEDIATE; SET CONSTRAINTS {_OWNED} DEFERRED")
    except asyncpg.CheckViolationError as refused:
        raise Conflict(NO_OWNER, code="last_owner") from refused


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
    """Out of the team; what was offered to them or by them there is offered no more."""
    await TeamTransfers.delete().where(
        TeamTransfers.team_id == member.team_id,
        Or(TeamTransfers.from_user_id == member.user_id, TeamTransfers.to_user_id == member.user_id),
    )
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


async def open_owners(team_id: str) -> list[str]:
    """The owners whose accounts are not shut, those first who came first: who can act for the team."""
    rows = await db.fetch(
        """SELECT m.user_id FROM team_members m JOIN users u ON u.id = m.user_id
           WHERE m.team_id = $1 AND m.role = 'owner' AND u.disabled_at IS NULL ORDER BY m.joined_at, m.id""",
        team_id,
    )
    return [row["user_id"] for row in rows]


async def step_down(actor: Actor, team_id: str, user_id: str) -> None:
    """One owner less: there must be another, who becomes the owner of record if this one was it."""
    before = await team(team_id)
    if before.personal and before.owner_id == user_id:
        raise Conflict("A personal team stays with its person.", code="personal_team")
    heirs = [heir for heir in await open_owners(team_id) if heir != user_id]
    if not heirs:
        raise Conflict(NO_OWNER, code="last_owner")
    if before.owner_id == user_id:
        await hand_over(actor, before, heirs[0])


async def hand_over(actor: Actor, before: Team, user_id: str) -> None:
    """Another owner of record, who is one of its owners when the transaction commits."""
    after = msgspec.structs.replace(before, owner_id=user_id, version=before.version + 1, updated_at=now())
    await Teams.update(
        {Teams.owner_id: user_id, Teams.version: after.version, Teams.updated_at: after.updated_at}
    ).where(Teams.id == before.id)
    await record(actor, TeamChanged(team_id=before.id, before=before, after=after))


async def set_role(actor: Actor, before: Member, role: str) -> Member:
    """The member in another role, and the news of it."""
    await TeamMembers.update({TeamMembers.role: role}).where(
        TeamMembers.team_id == before.team_id, TeamMembers.user_id == before.user_id
    )
    after = await one(before.team_id, before.user_id)
    await record(actor, RoleChanged(team_id=before.team_id, member=after, before=before.role))
    return after
