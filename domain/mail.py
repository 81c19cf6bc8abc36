"""Mail: what the product says to people by e-mail.

A verb says to whom, which kind and with what (`send`, in its transaction); a job renders and delivers it. How
it looks and how it travels are the shell's: `install()` gives both at start.

Rules   a mail is sent only if the change commits, and nothing of a transaction waits for it; delivering one
        twice is harmless, since its id goes with it; what a mail says is sealed while it waits, because
        links in it let people in.
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final, Protocol

import msgspec

from domain import ids, jobs
from domain.clock import now
from domain.errors import Invalid

# kind -> what it needs to be told. Its words are in app/mail/templates/.
KINDS: Final[dict[str, tuple[str, ...]]] = {
    "verify_email": ("name", "link"),
    "reset_password": ("name", "link"),
    "magic_link": ("name", "link"),
    "team_invite": ("inviter", "team", "role", "link"),
    "invite_asked_again": ("name", "team", "email"),
    "team_transfer": ("days",),
    "already_registered": ("name", "link"),
    "confirm_email_old": ("name", "email", "link"),
    "confirm_email_new": ("name", "link"),
    "email_changed": ("name", "email", "link"),
    "new_device": ("name", "program", "ip", "link"),
    "way_in_added": ("name", "way", "link"),
    "password_changed": ("name", "ways", "link"),
    "token_reused": ("name", "link"),
    "account_disabled": ("name",),
    "account_enabled": ("name",),
    "account_closed": ("name", "program", "ip"),
}
ADDRESS_CHARS_MAX: Final = 254
_LEADS_SOMEWHERE: Final = re.compile(r"[/:@\\]|\w\.\w|www", re.IGNORECASE)
# Letters that fold, by the rules of Postgres or of Unicode, onto one that is somebody else's: a capital i
# with a dot onto i, the Kelvin sign onto k. With them an address would take another's place.
_TWINS: Final = r"\u0130\u017f\u01c5\u01c8\u01cb\u01f2\u03f4\u2126\u212a\u212b\ufb00-\ufb06"
_LABEL: Final = rf"[^\s\x00-,./:-@\[-`{{-\x9f{_TWINS}]+"  # letters and digits of any script, hyphens
# An address that mail can reach, as far as one can tell without trying: RFC 5322's addr-spec with the letters
# of RFC 6531, without quotes and comments, and with dots wherever people have them (as in HTML).
ADDRESS: Final = (
    rf"""^[^\s\x00-\x1f\x7f-\x9f@<>()\[\]\\,;:"{_TWINS}]{{1,64}}"""
    rf"@(?!-){_LABEL}(?:\.(?!-){_LABEL})*(?!\n)$"
)
_ADDRESS: Final = re.compile(ADDRESS)


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be said: kept until it is delivered."""

    id: str
    at: datetime
    to: str
    kind: str
    context: dict[str, str]


class Mail(msgspec.Struct, frozen=True, kw_only=True):
    """What is delivered. `id` is the same however often it is tried."""

    id: str
    at: datetime
    to: str
    kind: str
    subject: str
    text: str
    html: str | None = None
    headers: Mapping[str, str] = {}


class Transport(Protocol):
    """How mail leaves the house."""

    async def deliver(self, mail: Mail) -> None:
        """Hand it over. Twice the same id is one mail. Raises jobs.GiveUp where trying again is no use."""


Render = Callable[[Letter], Mail]

SEND: Final = jobs.Job("mail.send", Letter, secret=True)
_installed: tuple[Render, Transport] | None = None


def install(render: Render, transport: Transport) -> None:
    """Render and deliver with these from now on."""
    global _installed
    _installed = (render, transport)


async def send(to: str, kind: str, **context: str) -> str:
    """Mail `to` once the current transaction has committed; the id of the mail.

    Raises Invalid for what is no address, ValueError where the context is not what the kind needs, and
    RuntimeError outside a transaction.
    """
    if not is_deliverable(to):
        raise Invalid("No mail can be sent to this address.", code="undeliverable_address")
    if set(context) != set(KINDS[kind]):
        raise ValueError(f"{kind} is told {sorted(context)}, and needs {sorted(KINDS[kind])}")
    letter = Letter(id=ids.new("mail"), at=now(), to=to, kind=kind, context=context)
    await jobs.enqueue(SEND, letter)
    return letter.id


def is_deliverable(to: str) -> bool:
    """Whether mail can be sent to this address, as far as one can tell without trying."""
    return len(to) <= ADDRESS_CHARS_MAX and _ADDRESS.fullmatch(to) is not None


def harmless(name: str) -> str | None:
    """What somebody called themselves or something of theirs, in one line; None where it leads somewhere."""
    return None if _LEADS_SOMEWHERE.search(name) else " ".join(name.split())


@SEND.handler
async def deliver(letter: Letter) -> None:
    """Render and hand over."""
    if _installed is None:
        raise RuntimeError("no transport is installed: call mail.install() first")
    render, transport = _installed
    await transport.deliver(render(letter))
