"""Nouns of the auth slice."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from domain import channels
from domain.events import Event, Resource
from domain.users.model import Email, Name, User

# How sessions ended that were somebody else's: where they came from is no place that the owner is known at.
ENDED_AS_ANOTHERS: Final = ("disowned", "refresh_token_reused", "taken_over", "email_reverted")

Password = Annotated[
    str,
    Meta(min_length=10, max_length=200, description="10 to 200 characters, any of them; a sentence is fine"),
]
# Signing in takes what was once accepted, and an upper bound keeps hashing cheap.
GivenPassword = Annotated[str, Meta(min_length=1, max_length=200, description="the password of the account")]
# Here and not with the other factors (mfa_model.py), which know this file.
GivenCode = Annotated[
    str, Meta(min_length=1, max_length=64, description="six digits from the app, or a recovery code")
]
GivenToken = Annotated[
    str, Meta(min_length=1, max_length=200, description="the newest refresh token of the session")
]


Mode = Annotated[
    Literal["token", "cookie"],
    Meta(description="`cookie`: the refresh token comes in an HttpOnly cookie, for pages in a browser"),
]


class Registration(msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """What an account is made from."""

    email: Email
    password: Password
    name: Name
    mode: Mode = "token"


class Login(msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """What signing in takes."""

    email: Email
    password: GivenPassword
    totp: GivenCode | UnsetType = UNSET
    mode: Mode = "token"


class Refresh(msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """What a new pair of tokens takes; in cookie mode the refresh token is in the cookie."""

    refresh_token: GivenToken | UnsetType = UNSET
    mode: Mode = "token"


class SignedIn(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A session and its newest pair of tokens."""

    user: User
    access_token: Annotated[
        str, Meta(description="`Authorization: Bearer …`, and `connect.token` on the websocket")
    ]
    refresh_token: Annotated[
        str | UnsetType,
        Meta(description="good once: refreshing answers with the next one; not here in cookie mode"),
    ]
    csrf_token: Annotated[
        str | UnsetType, Meta(description="in cookie mode: `X-CSRF-Token` of the next refresh")
    ] = UNSET
    expires_in: Annotated[int, Meta(description="seconds until the access token expires")]
    session_id: Annotated[str, Meta(description="what logging out ends")]


class Session(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Where an account is signed in."""

    id: str
    current: Annotated[bool, Meta(description="whether this request came with it")]
    created_at: datetime
    last_seen_at: Annotated[datetime, Meta(description="when it last renewed its tokens")]
    expires_at: Annotated[datetime, Meta(description="when it ends, unless it renews its tokens before")]
    ip: Annotated[str | None, Meta(description="the address it was begun from")]
    user_agent: Annotated[str | None, Meta(description="the program it was begun with, as it calls itself")]
    amr: Annotated[
        list[str], Meta(description="how the user showed who they are (RFC 8176): `pwd`, `otp`, …")
    ]


class SessionNews(msgspec.Struct, frozen=True, rename="camel"):
    """Which session it is about."""

    session_id: str


class RegistrationNews(SessionNews, frozen=True, rename="camel"):
    """The first session, and the account."""

    user: User


class RevocationNews(SessionNews, frozen=True, rename="camel"):
    """Which session is over, and why."""

    reason: Annotated[
        str, Meta(description="why it is over: `logout`, `refresh_token_reused`, `password_reset`, …")
    ]


class _SessionEvent(Event, frozen=True, kw_only=True):
    """News for the user alone, on every device."""

    user_id: str
    session_id: str

    def resource(self) -> Resource:
        return Resource("session", self.session_id)

    def channels(self) -> tuple[str, ...]:
        return (channels.user(self.user_id),)

    def news(self) -> SessionNews:
        return SessionNews(self.session_id)


class Registered(_SessionEvent, frozen=True, kw_only=True):
    """An account was made, and its first session with it."""

    type = "auth.registered"

    user: User

    def news(self) -> RegistrationNews:
        return RegistrationNews(self.session_id, self.user)


class LoggedIn(_SessionEvent, frozen=True, kw_only=True):
    """The user signed in: there is one more session."""

    type = "auth.logged_in"


class LoginFailed(Event, frozen=True, kw_only=True):
    """A wrong password, or attempts that were refused unread: in the trail, not on a screen.

    `attempts` is how many it stands for: refused ones are told together.
    """

    type = "auth.login_failed"
    outcome = "denied"

    user_id: str
    reason: str
    attempts: int

    def resource(self) -> Resource:
        return Resource("user", self.user_id)

    def metadata(self) -> dict[str, Any]:
        return {"reason": self.reason, "attempts": self.attempts}


class SessionRevoked(_SessionEvent, frozen=True, kw_only=True):
    """A session is over, and its sockets are closed with 3500."""

    # By channels/gate.py, on hearing this.

    type = "auth.session_revoked"

    reason: str

    def news(self) -> RevocationNews:
        return RevocationNews(self.session_id, self.reason)

    def metadata(self) -> dict[str, Any]:
        return {"reason": self.reason}
