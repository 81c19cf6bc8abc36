"""Rights: role x permission, in one table, read from the database as it is now and never from a token.

A stranger is told NotFound, in the words used for a thing that does not exist; a member without the right is
told Forbidden. REST verbs and the websocket gate ask the same functions.

Source: API.md, "Roles".
"""

from collections.abc import Collection
from typing import Annotated, Final, Literal

from msgspec import Meta

from domain import db
from domain.actor import Actor, Limits
from domain.errors import Forbidden, NotFound

Role = Annotated[
    Literal["owner", "admin", "member", "viewer"],
    Meta(description="what a member may do: owner > admin > member > viewer"),
]

# The lowest role that has each permission.
LEAST: Final[dict[str, Role]] = {
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
RANK: Final[dict[Role, int]] = {"viewer": 0, "member": 1, "admin": 2, "owner": 3}
GRANTS: Final[dict[Role, frozenset[str]]] = {
    role: frozenset(permission for permission, least in LEAST.items() if rank >= RANK[least])
    for role, rank in RANK.items()
}


async def role_of(user_id: str | None, team_id: str) -> Role | None:
    """The role in a team that is not deleted; None for a stranger.

    Inside a transaction the membership is held until its end: a removal, a demotion or the deletion of the
    team comes before the change that it forbids, or after it, never in between. (The team is not held, but a
    membership has `team_deleted_at`, which is looked at again after the wait.)
    """
    hold = "FOR SHARE OF m" if db.is_writing() else ""
    role: Role | None = await db.fetchval(
        f"""SELECT m.role FROM team_members m JOIN teams t ON t.id = m.team_id
            WHERE m.team_id = $1 AND m.user_id = $2 AND t.deleted_at IS NULL
              AND m.team_deleted_at IS NULL {hold}""",  # noqa: S608 - no input in it
        team_id,
        user_id,
    )
    return role


async def require(actor: Actor, team_id: str, permission: str, *, of: str = "team") -> Role:
    """The caller's role, if it grants the permission and an API key leaves it.

    `of` names the thing that a stranger is told does not exist.
    """
    role = await role_of(actor.user, team_id)
    if role is None or (actor.limits is not None and not actor.limits.reach(team_id)):
        raise NotFound.of(of)
    require_scope(actor, permission)
    require_grant(role, permission)
    return role


def require_grant(role: Role, permission: str) -> None:
    """Raises Forbidden for a member whose role does not have it."""
    if not grants(role, permission):
        raise Forbidden(f"Your role here is {role}, which may not do this.", permission=permission, role=role)


async def roles_of(user_ids: Collection[str]) -> dict[str, dict[str, Role]]:
    """For each of these users, the role in every team they are in: `{user: {team: role}}`, in one query."""
    rows = await db.fetch(
        """SELECT m.user_id, m.team_id, m.role FROM team_members m JOIN teams t ON t.id = m.team_id
           WHERE m.user_id = ANY($1) AND t.deleted_at IS NULL ORDER BY m.team_id""",
        list(user_ids),
    )
    roles: dict[str, dict[str, Role]] = {user_id: {} for user_id in user_ids}
    for row in rows:
        roles[row["user_id"]][row["team_id"]] = row["role"]
    return roles


def grants(role: Role | None, permission: str | None) -> bool:
    """Whether a role has a permission; None for a stranger's role, and for no more than being a member."""
    return role is not None and (permission is None or permission in GRANTS[role])


def left(limits: Limits | None, permission: str | None) -> bool:
    """Whether an API key leaves a permission to its user; being a member is what `team:read` is."""
    return limits is None or limits.leave(permission or "team:read")


def require_scope(actor: Actor, permission: str) -> None:
    """An API key has the permission among its scopes; what its user's role says is another question."""
    if not left(actor.limits, permission):
        raise Forbidden(f"This API key lacks {permission}.", code="missing_scope", permission=permission)


def require_rank(actor: Actor, own: Role, *others: Role) -> None:
    """Nobody grants, changes or takes away a role above their own; a key none that may more than it does."""
    if any(RANK[other] > RANK[own] for other in others) or any(
        not left(actor.limits, permission) for other in others for permission in GRANTS[other]
    ):
        raise Forbidden("Nobody grants or takes away more than they have.", code="role_above_own")
