"""Rights: one table of permissions, and the role of the caller as the database has it, never from a token.

A role is a set of permissions: one of four that every team has, or one that the team made (roles.py). A
stranger is told NotFound, in the words used for a thing that does not exist; a member without the right is
told Forbidden. REST verbs and the websocket gate ask the same functions.

Source: API.md, "Roles".
"""

from collections.abc import Collection
from functools import lru_cache
from typing import Annotated, Final, Literal, get_args

import asyncpg
import msgspec
from msgspec import Meta

from domain import db
from domain.actor import Actor, Limits
from domain.errors import Forbidden, Invalid, NotFound
from domain.memory import Memory, of_process
from domain.teams import refusals
from domain.teams.denials import denials
from domain.users import service as users

BuiltIn = Literal["viewer", "member", "admin", "owner"]
RoleName = Annotated[
    str,
    Meta(
        pattern=r"^[a-z][a-z0-9-]{1,39}(?!\n)$",
        description="what a member may do: owner > admin > member > viewer, or a role of the team's own",
    ),
]

# Every permission, and the lowest of the built-in roles that has it.
LEAST: Final[dict[str, BuiltIn]] = {
    "inventory:read": "viewer",
    "dashboard:read": "viewer",
    "search:read": "viewer",
    "files:read": "viewer",
    "analytics:read": "viewer",
    "team:read": "viewer",
    "inventory:write": "member",
    "files:write": "member",
    "analytics:track": "member",
    "export:create": "member",
    "members:manage": "admin",
    "invites:manage": "admin",
    "audit:read": "admin",
    "notifications:send": "admin",
    "settings:write": "admin",
    "api_keys:manage": "admin",
    "billing:manage": "owner",
    "team:delete": "owner",
    "team:transfer": "owner",
    "roles:manage": "owner",
}
MEMBERSHIP: Final = "team:read"  # what every role has: to be in the team
_ASCENDING: Final[tuple[BuiltIn, ...]] = get_args(BuiltIn)


class Role(msgspec.Struct, frozen=True):
    """What somebody is in a team: the name of it, and everything that it lets them do."""

    name: str
    permissions: frozenset[str]


BUILT_IN: Final[dict[str, Role]] = {
    name: Role(name, frozenset(each for each, least in LEAST.items() if _ASCENDING.index(least) <= rank))
    for rank, name in enumerate(_ASCENDING)
}

memory: Final = Memory[Role]()
of_process.append(memory)
_HELD: Final = """
    SELECT m.user_id, m.team_id, m.role, r.permissions
    FROM team_members m JOIN teams t ON t.id = m.team_id
    LEFT JOIN team_roles r ON r.team_id = m.team_id AND r.name = m.role
    WHERE m.user_id = ANY($1) AND t.deleted_at IS NULL"""


async def role_of(user_id: str, team_id: str) -> Role | None:
    """The role in a team that is not deleted; None for a stranger.

    Who only reads may be told what `memory` has. Inside a transaction the membership, and a role of the
    team's own, are read and held until its end: a removal, a demotion, a role that may less or the deletion
    of the team comes before the change that it forbids, or after it, never in between. (The team is not held,
    but a membership has `team_deleted_at`, which is looked at again after the wait.)
    """
    if db.is_writing():
        return await _role_held(user_id, team_id)
    return await memory.recall(user_id, team_id, lambda: _role_now(user_id, team_id))


async def _role_now(user_id: str, team_id: str) -> Role | None:
    row = await db.fetchrow(f"{_HELD} AND m.team_id = $2", [user_id], team_id)
    return None if row is None else _role(row)


async def _role_held(user_id: str, team_id: str) -> Role | None:
    name = await db.fetchval(holding("m.team_id = $1 AND m.user_id = $2"), team_id, user_id)
    # Another statement: one that had waited for the membership would still see its role as it was before.
    return await role_named(team_id, name) if name is not None else None


@lru_cache
def holding(which: str) -> str:
    """The SQL that reads roles of members `m`, and holds their memberships until the commit."""
    return f"""
        SELECT m.role FROM team_members m JOIN teams t ON t.id = m.team_id
        WHERE {which} AND t.deleted_at IS NULL AND m.team_deleted_at IS NULL
        FOR SHARE OF m"""  # noqa: S608 - conditions of ours


@lru_cache
def built_in_with(permission: str) -> list[str]:
    """The names of the built-in roles that have it."""
    return [name for name, role in BUILT_IN.items() if permission in role.permissions]


async def role_named(team_id: str, name: str) -> Role | None:
    """A role that members of this team may have, held until the end of the transaction under way."""
    if name in BUILT_IN:
        return BUILT_IN[name]
    permissions = await db.fetchval(
        "SELECT permissions FROM team_roles WHERE team_id = $1 AND name = $2 FOR SHARE", team_id, name
    )
    return Role(name, frozenset(permissions)) if permissions is not None else None


async def require(actor: Actor, team_id: str, permission: str, *, of: str = "team") -> Role:
    """The caller's role, if it grants the permission and an API key leaves it.

    `of` names the thing that a stranger is told does not exist.
    """
    role = await role_of(actor.user, team_id)
    if role is None or (actor.limits is not None and not actor.limits.reach(team_id)):
        raise await refusals.explained(actor, NotFound.of(of), team_id, permission, role)
    require_scope(actor, permission, team_id=team_id, role=role)
    await require_grant(actor, team_id, role, permission)
    return role


async def require_grant(actor: Actor, team_id: str, role: Role, permission: str) -> None:
    """Raises Forbidden for a member whose role does not have it."""
    if not grants(role, permission):
        note(actor, permission, team_id, role)
        refused = Forbidden(
            f"Your role here is {role.name}, which may not do this.", permission=permission, role=role.name
        )
        raise await refusals.explained(actor, refused, team_id, permission, role)


def note(actor: Actor, permission: str, team_id: str | None = None, role: Role | None = None) -> None:
    """They tried what they may not: for the trail of that team, or else of their key's or their own."""
    denials.note(actor, actor.team(team_id), permission, role.name if role is not None else None)


def require_staff(actor: Actor) -> None:
    """Raises Forbidden `staff_only`; the try is in the caller's own trail, for it is about no team."""
    if not actor.is_staff:
        note(actor, "staff")
    users.require_staff(actor)


def require_session(actor: Actor) -> None:
    """Raises Forbidden `session_required` for an API key; the try is in the trail of the key's own team."""
    if actor.limits is not None:
        note(actor, "session")
        raise Forbidden("Sign in for this: an API key may not do it.", code="session_required")


async def roles_of(user_ids: Collection[str]) -> dict[str, dict[str, Role]]:
    """For each of these users, the role in every team they are in: `{user: {team: role}}`, in one query."""
    rows = await db.fetch(f"{_HELD} ORDER BY m.team_id", list(user_ids))
    roles: dict[str, dict[str, Role]] = {user_id: {} for user_id in user_ids}
    for row in rows:
        roles[row["user_id"]][row["team_id"]] = _role(row)
    return roles


def _role(row: asyncpg.Record) -> Role:
    return BUILT_IN.get(row["role"]) or Role(row["role"], frozenset(row["permissions"]))


def grants(role: Role | None, permission: str | None) -> bool:
    """Whether a role has a permission; None for a stranger's role, and for no more than being a member."""
    return role is not None and (permission is None or permission in role.permissions)


def left(limits: Limits | None, permission: str | None) -> bool:
    """Whether an API key leaves a permission to its user; being a member is what `team:read` is."""
    return limits is None or limits.leave(permission or MEMBERSHIP)


def require_scope(
    actor: Actor, permission: str, *, team_id: str | None = None, role: Role | None = None
) -> None:
    """An API key has the permission among its scopes; what its user's role says is another question.

    What is about no team is in the trail of the key's own. Raises Forbidden `missing_scope`.
    """
    if not left(actor.limits, permission):
        note(actor, permission, team_id, role)
        raise Forbidden(f"This API key lacks {permission}.", code="missing_scope", permission=permission)


def held(actor: Actor, own: Role) -> frozenset[str]:
    """What the caller may do: what their role grants and an API key leaves of it."""
    return own.permissions if actor.limits is None else own.permissions & actor.limits.scopes


async def require_held(actor: Actor, team_id: str, own: Role, *permissions: Collection[str]) -> None:
    """Nobody grants, changes or takes away what they lack. Raises Forbidden `role_above_own`."""
    beyond = frozenset[str]().union(*permissions) - held(actor, own)
    if beyond:
        note(actor, min(beyond), team_id, own)
        refused = Forbidden("Nobody grants or takes away more than they have.", code="role_above_own")
        raise await refusals.explained(actor, refused, team_id, min(beyond), own)


async def require_roles(actor: Actor, team_id: str, own: Role, *names: str) -> None:
    """The caller may give and take away these roles. Raises Invalid `unknown_role`; Forbidden as above."""
    for name in names:
        role = await role_named(team_id, name)
        if role is None:
            raise Invalid("The team has no such role.", code="unknown_role", role=name)
        await require_held(actor, team_id, own, role.permissions)
