"""Nouns of the users slice."""

from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from domain import channels, mail
from domain.events import Change, Event, Resource, difference

Email = Annotated[
    str,
    Meta(
        min_length=3,
        max_length=mail.ADDRESS_CHARS_MAX,
        pattern=mail.ADDRESS,
        description="an e-mail address (RFC 5321: at most 254 characters); upper and lower case are the same",
    ),
]
AvatarUrl = Annotated[
    str, Meta(max_length=2000, pattern=r"^https?://[^\s<>\"]+(?!\n)$", description="where a picture is")
]
Name = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"\S", description="what people are called")]


# Whoever an attempt to sign in as nobody is about, and the trail that keeps it: no account, and no team.
UNKNOWN_USER: Final = "user_00000000000000000000000000"
UNKNOWN_TEAM: Final = "team_00000000000000000000000000"


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


class StaffUser(User, frozen=True, rename="camel", kw_only=True):
    """An account, as staff sees it."""

    disabled_at: Annotated[datetime | None, Meta(description="since when it cannot sign in")]
    deleted_at: Annotated[datetime | None, Meta(description="when its owner closed it")]


class StaffPatch(msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """What staff may change of somebody's account."""

    disabled: Annotated[bool, Meta(description="true ends every session, and lets nobody in")]


class Profile(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What somebody says of themselves, and how they like things."""

    user_id: str
    bio: Annotated[str, Meta(description="what they say of themselves")]
    avatar_url: Annotated[str | None, Meta(description="where a picture of them is")]
    preferences: Annotated[dict[str, Any], Meta(description="what clients keep for their user")]
    version: int
    updated_at: datetime


class NewProfile(msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """A profile as it is to be, as a whole."""

    bio: Annotated[str, Meta(max_length=2000, description="what you say of yourself")] = ""
    avatar_url: AvatarUrl | None = None
    preferences: Annotated[dict[str, Any], Meta(description="what clients keep for you")] = {}


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


class ProfileNews(msgspec.Struct, frozen=True, rename="camel"):
    """A profile as it is now."""

    profile: Annotated[Profile, Meta(description="as it is now")]


class ProfileChanged(Event, frozen=True, kw_only=True):
    """The user's profile was edited."""

    type = "users.profile_changed"

    before: Profile
    after: Profile

    def resource(self) -> Resource:
        return Resource("user", self.after.user_id)

    def channels(self) -> tuple[str, ...]:
        return (channels.user(self.after.user_id),)

    def news(self) -> ProfileNews:
        return ProfileNews(self.after)

    def changes(self) -> dict[str, Change]:
        return difference(self.before, self.after, but=("version", "updatedAt"))


class _AboutAccount(Event, frozen=True, kw_only=True):
    """Something that concerns the account as a whole: in its trail, not on a screen."""

    user_id: str

    def resource(self) -> Resource:
        return Resource("user", self.user_id)


class UserDisabled(_AboutAccount, frozen=True, kw_only=True):
    """Staff has shut the account: nobody gets in."""

    type = "users.disabled"


class UserEnabled(_AboutAccount, frozen=True, kw_only=True):
    """Staff has opened the account again."""

    type = "users.enabled"


class UserExported(_AboutAccount, frozen=True, kw_only=True):
    """The user took a copy of all that is kept of them."""

    type = "users.exported"


class UserDeleted(_AboutAccount, frozen=True, kw_only=True):
    """The user closed the account: nothing tells any more who they were."""

    type = "users.deleted"
