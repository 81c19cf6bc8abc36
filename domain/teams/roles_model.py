"""Nouns of a team's own roles."""

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from domain import channels
from domain.events import Change, Event, Resource, difference
from domain.teams.policy import LEAST, RoleName

Permissions = Annotated[
    list[Annotated[str, Meta(max_length=60)]],
    Meta(max_length=len(LEAST), description="what members with it may do; `team:read` is always among it"),
]


class TeamRole(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A role that members of the team may have. Built-in ones have no version: they do not change."""

    name: str
    permissions: Annotated[list[str], Meta(description="what members with it may do")]
    built_in: Annotated[bool, Meta(description="the same in every team")] = False
    version: int | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


class NewRole(msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """What a role is made from."""

    name: RoleName
    permissions: Permissions


class RoleBody(msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """What a role may do from now on."""

    permissions: Permissions


class RoleNews(msgspec.Struct, frozen=True, rename="camel"):
    """A role as it is now, or as it was when it was removed."""

    team_id: str
    role: TeamRole


class _RoleEvent(Event, frozen=True, kw_only=True):
    role: TeamRole

    def resource(self) -> Resource:
        return Resource("role", self.role.name)

    def channels(self) -> tuple[str, ...]:
        return (channels.team(self.team_id),)

    def news(self) -> RoleNews:
        return RoleNews(self.team_id, self.role)


class RoleDefined(_RoleEvent, frozen=True, kw_only=True):
    """The team has a new role of its own."""

    type = "teams.role_defined"

    def changes(self) -> dict[str, Change]:
        return {"permissions": Change(None, self.role.permissions)}


class RoleRedefined(_RoleEvent, frozen=True, kw_only=True):
    """Everyone who has the role may do more now, or less; it is news for each of them in person."""

    type = "teams.role_redefined"

    before: TeamRole
    holders: tuple[str, ...]

    def channels(self) -> tuple[str, ...]:
        return channels.team(self.team_id), *map(channels.user, self.holders)

    def changes(self) -> dict[str, Change]:
        return difference(self.before, self.role, but=("version", "updatedAt"))


class RoleRemoved(_RoleEvent, frozen=True, kw_only=True):
    """The team has this role no more; nobody had it."""

    type = "teams.role_removed"

    def changes(self) -> dict[str, Change]:
        return {"permissions": Change(self.role.permissions, None)}
