"""Nouns of the flows that go by e-mail: what they take, what they say, what they leave in the trail."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from domain import channels
from domain.actor import Actor
from domain.auth.model import GivenPassword, Mode, Password
from domain.auth.ways_in import Way, noted
from domain.events import Change, Event, Resource, difference
from domain.users.model import Email, User, UserNews

LinkToken = Annotated[
    str, Meta(min_length=1, max_length=200, description="what follows `#token=` in the link; good once")
]


class Link(msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """What following a link takes."""

    token: LinkToken


class MagicLink(msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """What signing in by a link takes."""

    token: LinkToken
    mode: Mode = "token"


class Address(msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """Where to send a link."""

    email: Email


class NewPassword(msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """What choosing a new password by a link takes."""

    token: LinkToken
    password: Password


class PasswordChange(msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """What changing a password takes; an account that has none yet asks for no current one."""

    current_password: GivenPassword | None = None
    password: Password


class EmailChange(msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """What moving to another address takes; an account without a password asks for none."""

    email: Email
    password: GivenPassword | None = None


class Accepted(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """It will be done, if there is anything to do: the mail says more, and this says the same to everyone."""

    accepted: Annotated[Literal[True], Meta(description="true, whatever comes of it")] = True


class EmailConfirmed(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One of the two addresses has agreed to a change."""

    changed: Annotated[
        bool, Meta(description="whether the other one had agreed before: the address is changed")
    ]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A job: somebody asks for a link, from where."""

    actor: Actor
    email: str


class _AboutUser(Event, frozen=True, kw_only=True):
    """Something about an account: in its trail, not on a screen."""

    user_id: str

    def resource(self) -> Resource:
        return Resource("user", self.user_id)


class EmailVerified(Event, frozen=True, kw_only=True):
    """The user has shown that the address is theirs."""

    type = "auth.email_verified"

    user: User

    def resource(self) -> Resource:
        return Resource("user", self.user.id)

    def channels(self) -> tuple[str, ...]:
        return (channels.user(self.user.id),)

    def news(self) -> UserNews:
        return UserNews(self.user)


class EmailChanged(Event, frozen=True, kw_only=True):
    """The account has another address: both had agreed."""

    type = "users.email_changed"

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


class EmailReverted(_AboutUser, frozen=True, kw_only=True):
    """The old address took the account back: every session is over, and there is no password."""

    type = "users.email_reverted"

    before: User
    after: User

    def changes(self) -> dict[str, Change]:
        return difference(self.before, self.after, but=("version", "updatedAt"))


class EmailChangeRequested(_AboutUser, frozen=True, kw_only=True):
    """Somebody who is signed in wants another address for the account."""

    type = "users.email_change_requested"

    email: str

    def metadata(self) -> dict[str, Any]:
        return {"email": self.email}


class EmailChangeConfirmed(_AboutUser, frozen=True, kw_only=True):
    """One of the two addresses has agreed."""

    type = "users.email_change_confirmed"

    side: str

    def metadata(self) -> dict[str, Any]:
        return {"side": self.side}


class AccountMade(_AboutUser, frozen=True, kw_only=True):
    """An account was made that waits for its address to be confirmed: nobody is signed in."""

    type = "auth.account_made"


class RegistrationRefused(_AboutUser, frozen=True, kw_only=True):
    """Somebody tried to register with the address of this account; its owner was told."""

    type = "auth.registration_refused"
    outcome = "denied"


class LoginUnverified(_AboutUser, frozen=True, kw_only=True):
    """The right password, but the address is to be confirmed first."""

    type = "auth.login_unverified"
    outcome = "denied"


class PasswordResetRequested(_AboutUser, frozen=True, kw_only=True):
    """Somebody asked for a link to a new password, and it was mailed."""

    type = "auth.password_reset_requested"


class _NewPassword(_AboutUser, frozen=True, kw_only=True):
    """There is another password; what else opens the account stays, and is `left`."""

    left: list[Way]

    def metadata(self) -> dict[str, Any]:
        return {"left": noted(self.left)}


class PasswordReset(_NewPassword, frozen=True, kw_only=True):
    """A new password was chosen by a link: every session and every API key is over."""

    type = "auth.password_reset"


class PasswordChanged(_NewPassword, frozen=True, kw_only=True):
    """The user chose another password: the other sessions are over."""

    type = "auth.password_changed"


class PasswordRefused(_AboutUser, frozen=True, kw_only=True):
    """Somebody who is signed in did not know the password."""

    type = "auth.password_refused"
    outcome = "denied"


class MagicLinkRequested(_AboutUser, frozen=True, kw_only=True):
    """Somebody asked for a link to sign in, and it was mailed."""

    type = "auth.magic_link_requested"


class WayInUndone(_AboutUser, frozen=True, kw_only=True):
    """The user says that it was not they who added this way in: it is gone, and every session is over."""

    type = "auth.way_in_undone"

    kind: str
    way_id: str

    def metadata(self) -> dict[str, Any]:
        return {"kind": self.kind, "id": self.way_id}


class SessionDisowned(_AboutUser, frozen=True, kw_only=True):
    """The user says that it was not they who signed in there."""

    type = "auth.session_disowned"

    session_id: str

    def resource(self) -> Resource:
        return Resource("session", self.session_id)
