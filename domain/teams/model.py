"""Nouns of the teams slice."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from domain import channels
from domain.events import Change, Event, Resource, difference
from domain.ids import Id
from domain.teams.policy import RoleName
from domain.users.model import Email

TeamName = Annotated[
    str, Meta(min_length=1, max_length=100, pattern=r"\S", description="what the team is called")
]
Slug = Annotated[
    str,
    Meta(
        min_length=2,
        max_length=60,
        pattern=r"^[a-z0-9]+(-[a-z0-9]+)*(?!\n)$",
        description="unique; made from the name if left out",
    ),
]
# Like the attributes of an item: they travel in every live entry and audit row of their team.
METADATA_BYTES_MAX = 16 * 1024
Metadata = Annotated[
    dict[str, Any], Meta(max_length=50, description="anything else: at most 50 members, 16 KiB as JSON")
]


class Team(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A tenant: whom things belong to."""

    id: str
    name: str
    slug: Annotated[str, Meta(description="the name for addresses; unique")]
    owner_id: str
    personal: Annotated[bool, Meta(description="made at registration, for one person")]
    metadata: Annotated[dict[str, Any], Meta(description="anything else")]
    deleted_at: Annotated[
        datetime | None, Meta(description="null for a team that is there; restorable for 30 days from then")
    ] = None
    version: int
    created_at: datetime
    updated_at: datetime


class Member(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A user in a team."""

    team_id: str
    user_id: str
    name: str
    role: RoleName
    joined_at: Annotated[datetime, Meta(description="since when they are in the team")]


class NewTeam(msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """What a team is made from."""

    name: TeamName
    slug: Slug | None = None


class TeamBody(msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """What may be edited of a team, for PUT. Slug and metadata stay where they are left out."""

    name: TeamName
    slug: Slug | UnsetType = UNSET
    metadata: Metadata | UnsetType = UNSET


class NewMember(msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """Whom to add by id, or to invite by e-mail address (one of the two), and as what."""

    user_id: Id | None = None
    email: Email | None = None
    role: RoleName = "member"


class RoleChange(msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """What a member is to be from now on."""

    role: RoleName


class TeamNews(msgspec.Struct, frozen=True, rename="camel"):
    """A team as it is now."""

    team: Team


class MemberNews(msgspec.Struct, frozen=True, rename="camel"):
    """A member as they are now, or as they were when they were removed."""

    member: Member


class TeamCreated(Event, frozen=True, kw_only=True):
    """There is a new team."""

    type = "teams.created"

    team: Team

    def resource(self) -> Resource:
        return Resource("team", self.team.id)

    def channels(self) -> tuple[str, ...]:
        return channels.team(self.team.id), channels.user(self.team.owner_id)

    def news(self) -> TeamNews:
        return TeamNews(self.team)

    def changes(self) -> dict[str, Change]:
        return difference(None, self.team)


class TeamChanged(Event, frozen=True, kw_only=True):
    """A team was edited."""

    type = "teams.changed"

    before: Team
    after: Team

    def resource(self) -> Resource:
        return Resource("team", self.after.id)

    def channels(self) -> tuple[str, ...]:
        return (channels.team(self.after.id),)

    def news(self) -> TeamNews:
        return TeamNews(self.after)

    def changes(self) -> dict[str, Change]:
        return difference(self.before, self.after, but=("version", "updatedAt"))


class _TeamEnds(Event, frozen=True, kw_only=True):
    """News for the team, and for each of its members in person: their rights change with it."""

    team: Team
    members: tuple[str, ...]

    def resource(self) -> Resource:
        return Resource("team", self.team.id)

    def channels(self) -> tuple[str, ...]:
        return channels.team(self.team.id), *map(channels.user, self.members)

    def news(self) -> TeamNews:
        return TeamNews(self.team)


class TeamDeleted(_TeamEnds, frozen=True, kw_only=True):
    """A team is gone; for 30 days whoever owned it may restore it."""

    type = "teams.deleted"


class TeamRestored(_TeamEnds, frozen=True, kw_only=True):
    """A deleted team is there again, with all that it had."""

    type = "teams.restored"


class TeamPurged(Event, frozen=True, kw_only=True):
    """A team that was deleted long ago can not be restored any more."""

    type = "teams.purged"

    def resource(self) -> Resource:
        return Resource("team", self.team_id)


class _MemberEvent(Event, frozen=True, kw_only=True):
    """News for the team, and for the member in person (who may not be in the team any more)."""

    member: Member

    def resource(self) -> Resource:
        return Resource("member", self.member.user_id)

    def channels(self) -> tuple[str, ...]:
        return channels.team(self.team_id), channels.user(self.member.user_id)

    def news(self) -> MemberNews:
        return MemberNews(self.member)


class MemberAdded(_MemberEvent, frozen=True, kw_only=True):
    """Somebody is in the team now."""

    type = "teams.member_added"

    def changes(self) -> dict[str, Change]:
        return {"role": Change(None, self.member.role)}


class MemberRemoved(_MemberEvent, frozen=True, kw_only=True):
    """Somebody is not in the team any more."""

    type = "teams.member_removed"

    def changes(self) -> dict[str, Change]:
        return {"role": Change(self.member.role, None)}


class MemberRenamed(_MemberEvent, frozen=True, kw_only=True):
    """A member is called something else now, in every team that they are in."""

    type = "teams.member_renamed"

    before: str

    def channels(self) -> tuple[str, ...]:
        return (channels.team(self.team_id),)

    def changes(self) -> dict[str, Change]:
        return {"name": Change(self.before, self.member.name)}


class RoleChanged(_MemberEvent, frozen=True, kw_only=True):
    """A member may do more now, or less."""

    type = "teams.role_changed"

    before: str

    def changes(self) -> dict[str, Change]:
        return {"role": Change(self.before, self.member.role)}
