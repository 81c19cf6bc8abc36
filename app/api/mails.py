"""The flows that go by e-mail: an address to confirm, a forgotten password, a link to sign in, a new address.

Whoever may not learn whether an address has an account gets the same answer for every address.
"""

from typing import Any

from litestar import Controller, Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from app.api import cookies
from app.api.cookies import AnyRequest
from app.api.envelope import One, one
from domain.actor import Actor
from domain.auth import devices, email_change, magic_link, recovery, undoing, verification
from domain.auth.mails_model import (
    Accepted,
    Address,
    EmailChange,
    EmailConfirmed,
    Link,
    MagicLink,
    NewPassword,
    PasswordChange,
)
from domain.auth.model import SignedIn


class MailsController(Controller):
    path = "/api/auth"
    tags = ("auth",)

    @post("/verify-email", status_code=204)
    async def verify_email(self, data: JSONBody[Link], actor: NamedDependency[Actor]) -> None:
        """Confirm an address, by the link that went there."""
        await verification.verify(actor, data.token)

    @post("/verify-email/resend", status_code=202)
    async def resend_verification(self, caller: NamedDependency[Actor]) -> One[Accepted]:
        """Mail another link to confirm your address; at most once a minute."""
        await verification.resend(caller)
        return ACCEPTED

    @post("/password/forgot", status_code=202)
    async def forgot_password(self, data: JSONBody[Address], actor: NamedDependency[Actor]) -> One[Accepted]:
        """Mail a link to a new password, if there is an account; the answer does not tell."""
        await recovery.forgot(actor, data.email)
        return ACCEPTED

    @post("/password/reset", status_code=204)
    async def reset_password(self, data: JSONBody[NewPassword], actor: NamedDependency[Actor]) -> None:
        """Choose a new password, by a link; every session ends."""
        await recovery.reset(actor, data)

    @post("/password/change", status_code=204)
    async def change_password(self, data: JSONBody[PasswordChange], caller: NamedDependency[Actor]) -> None:
        """Change your password; your other sessions end."""
        await recovery.change(caller, data)

    @post("/magic-link", status_code=202)
    async def ask_magic_link(self, data: JSONBody[Address], actor: NamedDependency[Actor]) -> One[Accepted]:
        """Mail a link to sign in, if there is an account; the answer does not tell."""
        await magic_link.ask(actor, data.email)
        return ACCEPTED

    @post("/magic-link/consume", status_code=200)
    async def consume_magic_link(
        self, request: AnyRequest, data: JSONBody[MagicLink], actor: NamedDependency[Actor]
    ) -> Response[One[SignedIn]]:
        """Sign in by a link: a new session."""
        return cookies.signed_in(request, await magic_link.consume(actor, data.token), data.mode)

    @post("/email/confirm", status_code=200)
    async def confirm_email(
        self, data: JSONBody[Link], actor: NamedDependency[Actor]
    ) -> Response[One[EmailConfirmed]]:
        """Agree to another address, by the link that went to one of the two."""
        return one(EmailConfirmed(changed=await email_change.confirm(actor, data.token)))

    @post("/email/revert", status_code=204)
    async def revert_email(self, data: JSONBody[Link], actor: NamedDependency[Actor]) -> None:
        """Take the account back to its old address; every session and the password end."""
        await email_change.revert(actor, data.token)

    @post("/sessions/disown", status_code=204)
    async def disown_session(self, data: JSONBody[Link], actor: NamedDependency[Actor]) -> None:
        """End a session that was not yours, by the link in the mail about it."""
        await devices.disown(actor, data.token)

    @post("/ways-in/undo", status_code=204)
    async def undo_way_in(self, data: JSONBody[Link], actor: NamedDependency[Actor]) -> None:
        """Take away a way in that you did not add, by the link in the mail about it; every session ends."""
        await undoing.undo(actor, data.token)


class EmailController(Controller):
    path = "/api/users"
    tags = ("users",)

    @post("/me/email", status_code=202)
    async def change_email(
        self, data: JSONBody[EmailChange], caller: NamedDependency[Actor]
    ) -> One[Accepted]:
        """Ask for another address; both are mailed a link, and both must agree."""
        await email_change.request(caller, data)
        return ACCEPTED


ACCEPTED = One(data=Accepted())


def accepted() -> Response[Any]:
    """202, from a route that otherwise answers with something else: hence Any."""
    return Response(ACCEPTED, status_code=202)
