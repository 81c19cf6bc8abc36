"""Nouns of API keys."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from domain import channels
from domain.events import Change, Event, Resource, difference
from domain.ids import Id

KeyName = Annotated[
    str, Meta(min_length=1, max_length=80, pattern=r"\S", description="what it is for, for people")
]
Scopes = Annotated[
    list[Annotated[str, Meta(max_length=40)]],
    Meta(max_length=40, description="permissions that it may use, such as `inventory:read`"),
]
Addresses = Annotated[
    list[Annotated[str, Meta(max_length=50)]],
    Meta(max_length=20, description="addresses or networks (CIDR) that it may come from; none: from all"),
]
Expires = Annotated[datetime, Meta(tz=True, description="when it ends by itself")]


class NewApiKey(msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """What a key is made from. It may never more than its user, and with a team only there."""

    name: KeyName
    scopes: Scopes
    team_id: Id | None = None
    addresses: Addresses = []
    expires_at: Expires | None = None


class ApiKeyPatch(msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """What is to change; what is left out stays."""

    name: KeyName | UnsetType = UNSET
    scopes: Scopes | UnsetType = UNSET
    addresses: Addresses | UnsetType = UNSET


class Rotation(msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """How long the key as it was stays good beside the new one."""

    overlap_seconds: Annotated[
        int, Meta(ge=0, le=604_800, description="at most a week; 0: the old one ends at once")
    ] = 0


class ApiKey(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A key, without its secret."""

    id: str
    prefix: Annotated[str, Meta(description="how its text begins, to recognise it by")]
    name: str
    user_id: Annotated[str, Meta(description="whom it acts for")]
    team_id: Annotated[str | None, Meta(description="the one team in which it acts; null: all of the user's")]
    scopes: Annotated[list[str], Meta(description="permissions that it may use")]
    addresses: Annotated[list[str], Meta(description="networks that it may come from; none: from all")]
    expires_at: Annotated[datetime | None, Meta(description="when it ends by itself")]
    previous_until: Annotated[
        datetime | None, Meta(description="until when the text before the last rotation is good, too")
    ]
    last_used: Annotated[datetime | None, Meta(description="to the minute")]
    api_version: Annotated[
        str, Meta(description="the version of the API it is answered in: the newest when it was made")
    ]
    created_at: datetime


class ApiKeyWithSecret(ApiKey, frozen=True, rename="camel", kw_only=True):
    """A key that was just made or rotated, with what is shown this once."""

    key: Annotated[str, Meta(description="`Authorization: Bearer mk_live_…`; it is not shown again")]


class ApiKeyNews(msgspec.Struct, frozen=True, rename="camel"):
    """An API key as it is now."""

    key_id: str
    key: ApiKey


class _ApiKeyEvent(Event, frozen=True, kw_only=True):
    """News for its user alone, whoever did it."""

    key: ApiKey

    def resource(self) -> Resource:
        return Resource("api_key", self.key.id)

    def channels(self) -> tuple[str, ...]:
        return (channels.user(self.key.user_id),)

    def news(self) -> ApiKeyNews:
        return ApiKeyNews(self.key.id, self.key)


class ApiKeyCreated(_ApiKeyEvent, frozen=True, kw_only=True):
    """There is one more API key."""

    type = "auth.api_key_created"

    def changes(self) -> dict[str, Change]:
        return difference(None, self.key)


class ApiKeyChanged(_ApiKeyEvent, frozen=True, kw_only=True):
    """An API key was renamed, or may do other things now, or come from elsewhere."""

    # channels/gate.py asks again what its sockets may do, on hearing this and the next two.

    type = "auth.api_key_changed"

    before: ApiKey

    def changes(self) -> dict[str, Change]:
        return difference(self.before, self.key, but=("lastUsed",))


class ApiKeyRotated(_ApiKeyEvent, frozen=True, kw_only=True):
    """An API key has a new secret; the old one is good until `previousUntil`, if that is said."""

    type = "auth.api_key_rotated"

    def metadata(self) -> dict[str, Any]:
        return {"previousUntil": self.key.previous_until}


class ApiKeyRevoked(_ApiKeyEvent, frozen=True, kw_only=True):
    """An API key is over, and its sockets are closed with 3500."""

    type = "auth.api_key_revoked"


class ApiKeyRefused(Event, frozen=True, kw_only=True):
    """A known API key was shown and did not open: in the trail, at most once a minute, not on a screen."""

    type = "auth.api_key_refused"
    outcome = "denied"

    key_id: str
    reason: str

    def resource(self) -> Resource:
        return Resource("api_key", self.key_id)

    def metadata(self) -> dict[str, Any]:
        return {"reason": self.reason}
