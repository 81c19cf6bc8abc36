"""Teams: tenants and who is in them.

Owns    teams, team_members
Says    teams.created, teams.changed, teams.deleted, teams.member_added, teams.member_removed,
        teams.member_renamed, teams.role_changed
Rules   a team always has an owner; nobody grants or takes away more than they have; a team has at most
        MEMBERS_MAX members, and nobody is in more than TEAMS_MAX teams.
"""

from collections.abc import Sequence

import asyncpg
import msgspec

from domain import channels, db, ids, pages, streams
from domain.actor import Actor
from domain.clock import now
from domain.errors import Conflict, Invalid, NotFound
from domain.pages import Page
from domain.record import record
from domain.teams import policy
from domain.teams.model import (
    Member,
    MemberAdded,
    MemberRemoved,
    MemberRenamed,
    NewMember,
    NewTeam,
    RoleChange,
    RoleChanged,
    Team,
    TeamChanged,
    TeamCreated,
    TeamDeleted,
)
from domain.teams.slugs import slug_of
from domain.teams.tables import TeamMembers, Teams
from domain.users import service as users
from domain.users.model import PublicUser, User, UserPatch

MEMBERS_MAX = 100
TEAMS_MAX = 200
_MEMBERS = """SELECT m.id, m.team_id, m.user_id, u.name, m.role, m.joined_at
              FROM team_members m JOIN users u ON u.id = m.user_id"""


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


async def members(
    actor: Actor, team_id: str, *, limit: int, cursor: str | None
) -> tuple[Page[Member], streams.Head]:
    """Who is in the team, in the order in which they joined, and where `team:<teamId>` stood then."""
    scope = f"members {actor.user} {team_id}"
    after = pages.unseal(cursor, scope=scope)[0] if cursor else ""
    await policy.require(actor, team_id, "team:read")
    async with streams.snapshot(channels.team(team_id)) as position:
        rows = await db.fetch(
            f"{_MEMBERS} WHERE m.team_id = $1 AND m.id > $2 ORDER BY m.id LIMIT $3",
            team_id,
            after,
            limit + 1,
        )
    page = pages.cut(rows, limit, scope=scope, key=lambda row: [row["id"]])
    return Page([db.as_struct(Member, row) for row in page.items], page.next_cursor), position


async def add_member(actor: Actor, team_id: str, new: NewMember) -> Member:
    """Put a user into the team.

    Raises Conflict `already_a_member`, `too_many_members`, `too_many_teams`; NotFound for an unknown user.
    """
    if (new.user_id is None) == (new.email is None):
        raise Invalid("Name the user by `userId` or by `email`, one of the two.", code="user_id_or_email")
    async with db.transaction():
        await _lock(team_id)
        own = await policy.require(actor, team_id, "members:manage")
        policy.require_rank(actor, own, new.role)
        user = await users.find(user_id=new.user_id, email=new.email)
        if await TeamMembers.count().where(TeamMembers.team_id == team_id) >= MEMBERS_MAX:
            raise Conflict(f"A team has at most {MEMBERS_MAX} members.", code="too_many_members")
        member = await _join(team_id, user, new.role)
        await record(actor, MemberAdded(team_id=team_id, member=member))
    return member


async def change_role(actor: Actor, team_id: str, user_id: str, change: RoleChange) -> Member:
    """Raises Conflict `last_owner` where the team would be left without one, `personal_team`."""
    async with db.transaction():
        await _lock(team_id)
        own = await policy.require(actor, team_id, "members:manage")
        before = await _member(team_id, user_id)
        policy.require_rank(actor, own, before.role, change.role)
        if before.role == change.role:
            return before
        if before.role == "owner":
            await _step_down(actor, team_id, user_id)
        await TeamMembers.update({TeamMembers.role: change.role}).where(
            TeamMembers.team_id == team_id, TeamMembers.user_id == user_id
        )
        after = await _member(team_id, user_id)
        await record(actor, RoleChanged(team_id=team_id, member=after, before=before.role))
    return after


async def remove_member(actor: Actor, team_id: str, user_id: str) -> None:
    """Take a member out; anyone may leave. Raises Conflict `last_owner`, `personal_team`."""
    async with db.transaction():
        await _lock(team_id)
        # To leave is a person's own decision: a key that may only read must not make it for them.
        leaving = user_id == actor.user and actor.limits is None
        own = await policy.require(actor, team_id, "team:read" if leaving else "members:manage")
        member = await _member(team_id, user_id)
        policy.require_rank(actor, own, member.role)
        if member.role == "owner":
            await _step_down(actor, team_id, user_id)
        await _leave(actor, member)


async def alone_in_personal(actor: Actor, team_id: str) -> None:
    """Nobody but its person is in a personal team any more, whoever let them in."""
    async with db.transaction():
        await _lock(team_id)
        for member in await _members(team_id):
            if member.user_id != actor.user:
                await _leave(actor, member)


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
        await _hold_memberships(actor.user)
        if await _team_count(actor.user) != len(rows):
            raise Conflict("Your teams are changing at this moment: try again.", code="teams_changing")
        members = {row["id"]: await _members(row["id"]) for row in rows}
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
                await _step_down(actor, own.team_id, own.user_id)
            await _leave(actor, own)


async def change_account(actor: Actor, patch: UserPatch, *, if_version: int | None = None) -> User:
    """Change one's own account, and say so in every team that shows the name. Raises as users.change does."""
    async with db.transaction():
        before, after = await users.change(actor, patch, if_version=if_version)
        if after.name != before.name:
            for row in await db.fetch(f"{_MEMBERS} WHERE m.user_id = $1 ORDER BY m.team_id", after.id):
                member = db.as_struct(Member, row)
                await record(actor, MemberRenamed(team_id=member.team_id, member=member, before=before.name))
    return after


async def teammate(actor: Actor, user_id: str) -> PublicUser:
    """The public face of someone who shares a team (that a key reaches) with the caller. Raises NotFound."""
    policy.require_scope(actor, "team:read")
    shared = await db.fetchval(
        """SELECT EXISTS (
               SELECT FROM team_members a JOIN team_members b USING (team_id) JOIN teams t ON t.id = team_id
               WHERE a.user_id = $1 AND b.user_id = $2 AND t.deleted_at IS NULL
                 AND ($3::text IS NULL OR team_id = $3))""",
        actor.user,
        user_id,
        actor.limits.team_id if actor.limits else None,
    )
    if not shared:
        raise NotFound.of("user")
    return await users.public(user_id)


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
    await _join(team_id, await users.public(actor.user), "owner")
    return team


async def _lock(team_id: str) -> None:
    """Changes of who is in a team happen one after another."""
    await db.execute("SELECT FROM teams WHERE id = $1 FOR NO KEY UPDATE", team_id)


async def _hold_memberships(user_id: str) -> None:
    """Until the transaction ends this user joins no other team; after a team's own lock, never before it."""
    await db.execute("SELECT pg_advisory_xact_lock(hashtext($1))", f"teams of {user_id}")


async def _join(team_id: str, user: PublicUser, role: policy.Role) -> Member:
    await _hold_memberships(user.id)
    if not await users.is_open(user.id):
        raise NotFound.of("user")
    if await _team_count(user.id) >= TEAMS_MAX:
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


async def _team_count(user_id: str) -> int:
    count: int = await db.fetchval(
        """SELECT count(*) FROM team_members m JOIN teams t ON t.id = m.team_id
           WHERE m.user_id = $1 AND t.deleted_at IS NULL""",
        user_id,
    )
    return count


async def _leave(actor: Actor, member: Member) -> None:
    await TeamMembers.delete().where(
        TeamMembers.team_id == member.team_id, TeamMembers.user_id == member.user_id
    )
    await record(actor, MemberRemoved(team_id=member.team_id, member=member))


async def _delete(actor: Actor, team: Team) -> None:
    await Teams.update({Teams.deleted_at: now()}).where(Teams.id == team.id)
    await record(actor, TeamDeleted(team_id=team.id, team=team))


async def _members(team_id: str) -> list[Member]:
    rows = await db.fetch(f"{_MEMBERS} WHERE m.team_id = $1 ORDER BY m.joined_at, m.id", team_id)
    return [db.as_struct(Member, row) for row in rows]


def _would_be_orphaned(members: Sequence[Member], without: str) -> bool:
    """Whether somebody would be left in the team, and no owner among them."""
    rest = [member for member in members if member.user_id != without]
    return bool(rest) and all(member.role != "owner" for member in rest)


async def _member(team_id: str, user_id: str) -> Member:
    row = await db.fetchrow(
        f"{_MEMBERS} WHERE m.team_id = $1 AND m.user_id = $2",
        team_id,
        user_id,
    )
    if row is None:
        raise NotFound.of("member")
    return db.as_struct(Member, row)


async def _step_down(actor: Actor, team_id: str, user_id: str) -> None:
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
