"""A team's own roles: sets of permissions with a name, beside the four that every team has.

Owns    team_roles
Says    teams.role_defined, teams.role_redefined, teams.role_removed
Rules   whoever manages roles puts into them, and takes out of them, only what they have themselves; a role
        that somebody has, or is invited to have, stays (the database's own foreign keys see to that); a team
        has at most ROLES_MAX. What a role may do changes for everyone who has it with the commit.
"""

from collections.abc import Collection
from typing import Final

import asyncpg
import msgspec

from domain import channels, db, ids, streams
from domain.actor import Actor
from domain.clock import now
from domain.errors import AnyOf, Conflict, FieldError, Invalid, NotFound, Stale
from domain.record import record
from domain.teams import membership, policy
from domain.teams.roles_model import (
    NewRole,
    RoleBody,
    RoleDefined,
    RoleRedefined,
    RoleRemoved,
    TeamRole,
)

ROLES_MAX: Final = 50
_SELECT: Final = "SELECT *, false AS built_in FROM team_roles WHERE team_id = $1"


async def listed(actor: Actor, team_id: str) -> tuple[list[TeamRole], streams.Head]:
    """The built-in roles, least first, then the team's own by name; and where `team:<teamId>` stood then."""
    await policy.require(actor, team_id, "team:read")
    async with streams.snapshot(channels.team(team_id)) as position:
        rows = await db.fetch(f"{_SELECT} ORDER BY name", team_id)
    built_in = [
        TeamRole(name=role.name, permissions=sorted(role.permissions), built_in=True)
        for role in policy.BUILT_IN.values()
    ]
    return [*built_in, *(db.as_struct(TeamRole, row) for row in rows)], position


async def define(actor: Actor, team_id: str, new: NewRole) -> TeamRole:
    """Raises Conflict `built_in_role`, `role_exists`, `too_many_roles`; Invalid `unknown_permission`;
    Forbidden `role_above_own`.
    """
    permissions = _permissions(new.permissions)
    _not_built_in(new.name)
    async with db.transaction():
        own = await _manager(actor, team_id)
        await policy.require_held(actor, team_id, own, permissions)
        if await db.fetchval("SELECT count(*) FROM team_roles WHERE team_id = $1", team_id) >= ROLES_MAX:
            raise Conflict(f"A team has at most {ROLES_MAX} roles of its own.", code="too_many_roles")
        at = now()
        role = TeamRole(name=new.name, permissions=permissions, version=1, created_at=at, updated_at=at)
        made = await db.fetchval(
            """INSERT INTO team_roles (id, team_id, name, permissions, version, created_at, updated_at)
               VALUES ($1, $2, $3, $4, 1, $5, $5) ON CONFLICT (team_id, name) DO NOTHING RETURNING id""",
            ids.new("role"),
            team_id,
            role.name,
            role.permissions,
            at,
        )
        if made is None:
            raise Conflict("The team has a role of this name.", code="role_exists")
        await record(actor, RoleDefined(team_id=team_id, role=role))
    return role


async def redefine(
    actor: Actor, team_id: str, name: str, body: RoleBody, *, if_version: AnyOf | None = None
) -> TeamRole:
    """Other permissions for a role, felt at once by everyone who has it.

    Raises NotFound, Stale; Conflict `built_in_role`; Invalid `unknown_permission`; Forbidden
    `role_above_own`.
    """
    permissions = _permissions(body.permissions)
    async with db.transaction():
        own = await _manager(actor, team_id)
        before = await _own(team_id, name)
        await policy.require_held(actor, team_id, own, before.permissions, permissions)
        Stale.unless(before, if_version)
        if permissions == before.permissions:
            return before
        after = msgspec.structs.replace(
            before, permissions=permissions, version=(before.version or 0) + 1, updated_at=now()
        )
        await db.execute(
            "UPDATE team_roles SET permissions = $3, version = $4, updated_at = $5"
            " WHERE team_id = $1 AND name = $2",
            team_id,
            name,
            after.permissions,
            after.version,
            after.updated_at,
        )
        holders = await membership.holders(team_id, name)
        await record(actor, RoleRedefined(team_id=team_id, before=before, role=after, holders=holders))
    return after


async def remove(actor: Actor, team_id: str, name: str, *, if_version: AnyOf | None = None) -> None:
    """Raises NotFound, Stale, Conflict `built_in_role`, `role_in_use`; Forbidden `role_above_own`."""
    async with db.transaction():
        own = await _manager(actor, team_id)
        role = await _own(team_id, name)
        await policy.require_held(actor, team_id, own, role.permissions)
        Stale.unless(role, if_version)
        try:
            await db.execute("DELETE FROM team_roles WHERE team_id = $1 AND name = $2", team_id, name)
        # Which of the two it is depends on the version of Postgres.
        except (asyncpg.RestrictViolationError, asyncpg.ForeignKeyViolationError) as used:
            raise Conflict(
                "Somebody has this role, or is invited to have it: give them another one first.",
                code="role_in_use",
            ) from used
        await record(actor, RoleRemoved(team_id=team_id, role=role))


async def _manager(actor: Actor, team_id: str) -> policy.Role:
    """The caller's role, if it manages roles. Roles and who has them change one after another."""
    await membership.lock(team_id)
    return await policy.require(actor, team_id, "roles:manage")


async def _own(team_id: str, name: str) -> TeamRole:
    """A role of the team's own. Raises Conflict `built_in_role`, NotFound."""
    _not_built_in(name)
    row = await db.fetchrow(f"{_SELECT} AND name = $2", team_id, name)
    if row is None:
        raise NotFound.of("role")
    return db.as_struct(TeamRole, row)


def _not_built_in(name: str) -> None:
    if name in policy.BUILT_IN:
        raise Conflict("This role is the same in every team.", code="built_in_role")


def _permissions(given: Collection[str]) -> list[str]:
    """Sorted, each once, with what it is to be a member at all."""
    for place, permission in enumerate(given):
        if permission not in policy.LEAST:
            said = "There is no such permission."
            raise Invalid(said, errors=(FieldError(f"/permissions/{place}", "unknown_permission", said),))
    return sorted({*given, policy.MEMBERSHIP})
