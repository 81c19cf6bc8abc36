"""Who is in a team: add, change roles, remove, leave. The team itself is service.py's."""

from domain import channels, db, pages, streams
from domain.actor import Actor
from domain.errors import AnyOf, Conflict, Invalid, NotFound
from domain.pages import Page
from domain.record import record
from domain.teams import membership, policy
from domain.teams.model import Member, MemberAdded, MemberRenamed, NewMember, RoleChange
from domain.teams.tables import TeamMembers
from domain.users import service as users
from domain.users.model import PublicUser, User, UserPatch

MEMBERS_MAX = 100


async def page(
    actor: Actor, team_id: str, *, limit: int, cursor: str | None
) -> tuple[Page[Member], streams.Head]:
    """Who is in the team, in the order in which they joined, and where `team:<teamId>` stood then."""
    scope = f"members {actor.user} {team_id}"
    after = pages.unseal(cursor, scope=scope)[0] if cursor else ""
    await policy.require(actor, team_id, "team:read")
    async with streams.snapshot(channels.team(team_id)) as position:
        rows = await db.fetch(
            f"{membership.SELECT} WHERE m.team_id = $1 AND m.id > $2 ORDER BY m.id LIMIT $3",
            team_id,
            after,
            limit + 1,
        )
    page = pages.cut(rows, limit, scope=scope, key=lambda row: [row["id"]])
    return Page([db.as_struct(Member, row) for row in page.items], page.next_cursor), position


async def add(actor: Actor, team_id: str, new: NewMember) -> Member:
    """Put a user into the team, by their id; whoever is known by address is invited (invites.py).

    Raises Conflict `already_a_member`, `too_many_members`, `too_many_teams`; NotFound for an unknown user;
    Invalid `unknown_role`.
    """
    if new.user_id is None or new.email is not None:
        raise Invalid("Name the user by `userId` or by `email`, one of the two.", code="user_id_or_email")
    async with db.transaction():
        await membership.lock(team_id)
        own = await policy.require(actor, team_id, "members:manage")
        await policy.require_roles(actor, team_id, own, new.role)
        user = await users.find(new.user_id)
        await require_room(team_id)
        member = await membership.join(team_id, user, new.role)
        await record(actor, MemberAdded(team_id=team_id, member=member))
    return member


async def require_room(team_id: str) -> None:
    """Raises Conflict `too_many_members`; whoever is about to join somebody has the team locked."""
    if await TeamMembers.count().where(TeamMembers.team_id == team_id) >= MEMBERS_MAX:
        raise Conflict(f"A team has at most {MEMBERS_MAX} members.", code="too_many_members")


async def change_role(actor: Actor, team_id: str, user_id: str, change: RoleChange) -> Member:
    """Raises Conflict `last_owner` where the team would be left without one, `personal_team`; Invalid
    `unknown_role`.
    """
    async with db.transaction():
        await membership.lock(team_id)
        own = await policy.require(actor, team_id, "members:manage")
        before = await membership.one(team_id, user_id)
        await policy.require_roles(actor, team_id, own, before.role, change.role)
        if before.role == change.role:
            return before
        if before.role == "owner":
            await membership.step_down(actor, team_id, user_id)
        after = await membership.set_role(actor, before, change.role)
        await membership.settle()
    return after


async def remove(actor: Actor, team_id: str, user_id: str) -> None:
    """Take a member out; anyone may leave. Raises Conflict `last_owner`, `personal_team`."""
    async with db.transaction():
        await membership.lock(team_id)
        # To leave is a person's own decision: a key that may only read must not make it for them.
        leaving = user_id == actor.user and actor.limits is None
        own = await policy.require(actor, team_id, "team:read" if leaving else "members:manage")
        member = await membership.one(team_id, user_id)
        await policy.require_roles(actor, team_id, own, member.role)
        if member.role == "owner":
            await membership.step_down(actor, team_id, user_id)
        await membership.leave(actor, member)
        await membership.settle()


async def change_account(actor: Actor, patch: UserPatch, *, if_version: AnyOf | None = None) -> User:
    """Change one's own account, and say so in every team that shows the name. Raises as users.change does."""
    async with db.transaction():
        before, after = await users.change(actor, patch, if_version=if_version)
        if after.name != before.name:
            for row in await db.fetch(
                f"{membership.SELECT} WHERE m.user_id = $1 AND m.team_deleted_at IS NULL ORDER BY m.team_id",
                after.id,
            ):
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
