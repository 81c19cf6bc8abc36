"""/auth/<page>: where links in mails lead. Opening one changes nothing; its button does.

The token is in the fragment of the address (domain/links.py), so what is served is the same for
everybody: mail scanners that follow links, previews and logs learn nothing and use nothing up. The script
(files/page.js) takes the token out of the address and sends it when the button is pressed.

An app of one's own may serve these addresses instead: what they call is in docs/identity/mails.md.
"""

from pathlib import Path
from typing import Any, Final, get_args

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import MediaType, Request, Response, get

from app.pages.served import served
from app.pipeline.policies import NOT_LIMITED
from domain import links
from domain.links import Page

_HERE: Final = Path(__file__).parent
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Words(msgspec.Struct, frozen=True, kw_only=True):
    """What a page says and does.

    `asks` is the field that people fill in; `again` is where to ask anew when the link is no good. A page
    `as_user` calls in the name of whoever is signed in here in cookie mode, or leads to signing in. `refuse`
    is what a second button calls, and `ask_again` what a third one calls where the link is too old.
    """

    title: str
    says: str
    button: str
    call: str
    done: str
    asks: str | None = None
    needs_token: bool = True
    again: Page | None = None
    again_says: str = "Sign in and ask for a new link."
    cookie: bool = False
    next: Page | None = None
    next_says: str = ""
    as_user: bool = False
    refuse: str | None = None
    ask_again: str | None = None


PAGES: Final[dict[Page, Words]] = {
    "verify-email": Words(
        title="Confirm your address",
        says="Press the button to confirm that this address is yours.",
        button="Confirm my address",
        call="/api/auth/verify-email",
        done="Thank you: your address is confirmed.",
    ),
    "reset-password": Words(
        title="Choose a new password",
        says="At least 10 characters, any of them; a sentence is fine. You will be signed out everywhere.",
        button="Set this password",
        call="/api/auth/password/reset",
        done="Your password is set. You can sign in with it now.",
        asks="password",
        again="forgot-password",
        again_says="Ask for a new link.",
    ),
    "forgot-password": Words(
        title="Forgotten your password?",
        says="We mail you a link to choose a new one.",
        button="Mail me a link",
        call="/api/auth/password/forgot",
        done="If there is an account with this address, a link is on its way.",
        asks="email",
        needs_token=False,
    ),
    "magic-link": Words(
        title="Sign in",
        says="Press the button to sign in on this device.",
        button="Sign in",
        call="/api/auth/magic-link/consume",
        done="You are signed in.",
        cookie=True,
        again_says="Ask for a new link where you wanted to sign in.",
    ),
    "confirm-email": Words(
        title="Another address for your account",
        says="Press the button only if you want this account to have the new address.",
        button="Agree",
        call="/api/auth/email/confirm",
        done="Thank you. The address is changed as soon as both have agreed, the old one and the new one.",
    ),
    "revert-email": Words(
        title="Take your account back",
        says="The account gets this address again, is signed out everywhere, and its password is gone. "
        "We mail you a link to choose a new one.",
        button="Take it back",
        call="/api/auth/email/revert",
        done="It is yours again. Look for our mail with a link to a new password.",
        again_says="It is too late for this link, or the account was taken back already.",
    ),
    "disown-session": Words(
        title="That was not you?",
        says="Press the button to sign that device out.",
        button="It was not me",
        call="/api/auth/sessions/disown",
        done="That device is signed out. Whoever it was may know your password.",
        next="forgot-password",
        next_says="Choose a new password",
        again_says="It is too late for this link: look where you are signed in, and sign out there.",
    ),
    "team-invite": Words(
        title="An invitation",
        says="Somebody invites you to their team; the mail says who. Your account must have the address that "
        "the mail went to, confirmed.",
        button="Accept",
        call="/api/invites/accept",
        done="Welcome: you are in the team.",
        again_says="Ask whoever invited you for a new one.",
        as_user=True,
        refuse="/api/invites/decline",
        ask_again="/api/invites/ask-again",
    ),
    "sign-in": Words(
        title="Sign in",
        says="We mail you a link to sign in with, on this device.",
        button="Mail me a link",
        call="/api/auth/magic-link",
        done="If there is an account with this address, a link is on its way. When you are signed in, open "
        "the link again that led you here.",
        asks="email",
        needs_token=False,
    ),
    "undo-way-in": Words(
        title="You did not add that?",
        says="Press the button to take away what was added to your account. "
        "You will be signed out everywhere.",
        button="Take it away",
        call="/api/auth/ways-in/undo",
        done="It is gone, and every device is signed out. Whoever it was may know your password.",
        next="forgot-password",
        next_says="Choose a new password",
        again_says="It is too late for this link: sign in, and remove it from your account there.",
    ),
}
assert set(PAGES) == set(get_args(Page)), "every link leads somewhere"


@get([f"{links.PATH}/{name}" for name in PAGES], opt=NOT_LIMITED, include_in_schema=False)
async def page(request: Request[Any, Any, Any]) -> Response[bytes]:
    """The page with this name, the same for everybody."""
    return Response(
        _RENDERED[request.url.path.removeprefix(f"{links.PATH}/")],
        media_type=MediaType.HTML,
        headers={"Content-Security-Policy": _POLICY},
    )


files = served(_HERE / "files", f"{links.PATH}/files")


def _rendered() -> dict[str, bytes]:
    template = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    ).get_template("page.html")
    return {name: template.render(words=words, path=links.PATH).encode() for name, words in PAGES.items()}


_RENDERED: Final = _rendered()
