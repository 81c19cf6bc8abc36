"""Nouns of the users slice."""

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from domain import channels
from domain.events import Change, Event, Resource, difference

Email = Annotated[
    str,
    Meta(
        min_length=3,
        max_length=254,
        pattern=r"^[^@\s]+@[^@\s]+(?!\n)$",
        description="an e-mail address (RFC 5321: at most 254 characters); upper and lower case are the same",
    ),
]
Name = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"\S", description="what people are called")]


class User(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """An account, as its owner sees it."""

    id: str
    email: str
    name: str
    email_verified_at: Annotated[datetime | None, Meta(description="null until the address is confirmed")]
    is_staff: Annotated[bool, Meta(description="of the platform; apart from roles in teams")]
    personal_team_id: Annotated[str, Meta(description="the team that is used where `teamId` is left out")]
    version: int
    created_at: datetime
    updated_at: datetime


class PublicUser(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """An account, as team-mates see it."""

    id: str
    name: str


class UserPatch(msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """What may be changed of one's own account; what is left out stays."""

    name: Name | UnsetType = UNSET


class UserNews(msgspec.Struct, frozen=True, rename="camel"):
    """An account as it is now."""

    user: User


class UserChanged(Event, frozen=True, kw_only=True):
    """The user's account was edited."""

    type = "users.changed"

    before: User
    after: User

    def resource(self) -> Resource:
        return Resource("user", self.after.id)

    def channels(self) -> tuple[str, ...]:
        return (channels.user(self.after.id),)

    def news(self) -> UserNews:
        return UserNews(self.after)

    def changes(self) -> dict[str, Change]:
        return difference(self.before, self.after, but=("version", "updatedAt"))
