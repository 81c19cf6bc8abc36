"""Nouns of signing in with a provider (OAuth 2.0, OpenID Connect)."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from domain import channels
from domain.auth.model import Mode
from domain.events import Change, Event, Resource, difference

ReturnTo = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=2000,
        description="the page that goes on: a path of this server, or an address on an allowed origin",
    ),
]
GivenCode = Annotated[
    str, Meta(min_length=1, max_length=200, description="`code`, from the fragment of the page's address")
]


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """Who somebody is, as a provider says; `tokens` are the provider's own and secret."""

    provider: str
    subject: str
    email: str | None
    email_verified: bool
    name: str | None
    tokens: dict[str, Any]


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """A flow that has just begun.

    `state`, `nonce` and the challenge of `verifier` go to the provider, `browser` into a cookie.
    """

    state: str
    browser: str
    verifier: str
    nonce: str


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """A flow that the browser has come back from; `user_id` and `session_id` are those of who links."""

    verifier: str
    nonce: str
    return_to: str | None
    user_id: str | None
    session_id: str | None


class OauthLink(msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """What linking an account at a provider takes."""

    return_to: ReturnTo


class OauthAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Where to send the browser."""

    url: Annotated[str, Meta(description="at the provider; open it in the browser that asked for it")]


class OauthCode(msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """What the browser came back with, to be exchanged for a session."""

    code: GivenCode
    mode: Mode = "token"


class OauthIdentity(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """An account at a provider that signs in here."""

    id: str
    provider: Annotated[str, Meta(description="`google`, `github`, or as it was configured")]
    email: Annotated[str | None, Meta(description="the address that the provider gave when it was last used")]
    created_at: datetime
    last_used_at: Annotated[datetime, Meta(description="when it was linked, or last signed in with")]


class IdentityNews(msgspec.Struct, frozen=True, rename="camel"):
    """The account at a provider that it is about."""

    identity: OauthIdentity


class _IdentityEvent(Event, frozen=True, kw_only=True):
    """News for the user alone, on every device."""

    user_id: str
    identity: OauthIdentity

    def resource(self) -> Resource:
        return Resource("identity", self.identity.id)

    def channels(self) -> tuple[str, ...]:
        return (channels.user(self.user_id),)

    def news(self) -> IdentityNews:
        return IdentityNews(self.identity)


class IdentityLinked(_IdentityEvent, frozen=True, kw_only=True):
    """There is one more account at a provider that signs in."""

    type = "auth.identity_linked"

    def changes(self) -> dict[str, Change]:
        return difference(None, self.identity)


class IdentityUnlinked(_IdentityEvent, frozen=True, kw_only=True):
    """An account at a provider signs in no more."""

    type = "auth.identity_unlinked"

    def changes(self) -> dict[str, Change]:
        return difference(self.identity, None)


class OauthRefused(Event, frozen=True, kw_only=True):
    """Somebody came from a provider and was not let in, or not linked: in the trail, not on a screen."""

    type = "auth.oauth_refused"
    outcome = "denied"

    user_id: str
    provider: str
    reason: str

    def resource(self) -> Resource:
        return Resource("user", self.user_id)

    def metadata(self) -> dict[str, Any]:
        return {"provider": self.provider, "reason": self.reason}
