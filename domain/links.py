"""Links in mails: where they lead. The token is in the fragment, which browsers send to nobody.

So it reaches no server, no log and no Referer before the person presses a button on the page. The base is
the operator's (`PUBLIC_URL`), never what a request says of itself: a Host header is what its sender likes.
"""

from typing import Final, Literal

Page = Literal[
    "verify-email",
    "reset-password",
    "forgot-password",
    "magic-link",
    "confirm-email",
    "revert-email",
    "disown-session",
    "team-invite",
    "sign-in",
    "undo-way-in",
]
PATH: Final = "/auth"
_base: str | None = None


def install(base: str) -> None:
    """Let links begin with this from now on, such as `https://app.example`."""
    global _base
    _base = base.rstrip("/")


def to(page: Page, token: str | None = None) -> str:
    """A link to one of our pages, which app/pages/ serves."""
    if _base is None:
        raise RuntimeError("links lead nowhere: call links.install() first")
    return f"{_base}{PATH}/{page}" + (f"#token={token}" if token else "")
