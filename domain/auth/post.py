"""Post: what auth says to people by mail.

Rules   whoever makes us write to an address without having shown that it is theirs does so once a minute and
        kind (`first_in_a_while`). Notices of what has happened to an account are never left out: that would
        hide it. What strangers can put into a mail (a name, the program they use) cannot lead anywhere.
"""

from datetime import timedelta
from typing import Final

from domain import links, mail
from domain.auth import one_time
from domain.users.model import User

ONCE_IN: Final = timedelta(minutes=1)
NOBODY: Final = "there"
# The first that is found in what a program calls itself; Chrome calls itself Safari too, and so on.
_PROGRAMS: Final = ("Edg", "OPR", "Firefox", "Chrome", "Safari", "curl", "python")
_SYSTEMS: Final = ("Android", "iPhone", "iPad", "Windows", "Mac OS", "Linux")
_KNOWN_AS: Final = {"Edg": "Edge", "OPR": "Opera", "Mac OS": "macOS", "python": "a Python program"}


async def first_in_a_while(kind: str, address: str) -> bool:
    """Whether no mail of this kind went there of late; from now on one has."""
    return await one_time.mark(f"mailed {kind}", address, lasts=ONCE_IN)


async def tell(address: str, kind: str, *, name: str, **context: str) -> None:
    """Mail this once the transaction commits; to an address that no mail can reach, nothing."""
    if mail.is_deliverable(address):
        await mail.send(address, kind, name=greeted(name), **context)


async def notice(user: User, kind: str, **context: str) -> None:
    """Say what has happened to an account, with a way to a new password."""
    await tell(user.email, kind, name=user.name, link=links.to("forgot-password"), **context)


def greeted(name: str) -> str:
    """A name as a mail says it: one that looks like an address would be somebody's advertisement."""
    return mail.harmless(name) or NOBODY


def program(user_agent: str | None) -> str:
    """What somebody signs in with, in words of ours: what it calls itself is anybody's text."""
    said = user_agent or ""
    found = [next((word for word in words if word in said), None) for words in (_PROGRAMS, _SYSTEMS)]
    named = " on ".join(_KNOWN_AS.get(word, word) for word in found if word)
    return named or "a program that we do not know"
