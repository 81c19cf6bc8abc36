"""Step 4: which positions a change has reached: `X-Stream-Position: inventory:team_…@17`.

A client that follows those channels knows from it when it has seen its own change. The trail and other users'
channels are left out: how far they have got tells how busy others are.
"""

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any, Final

from litestar import Request

from domain import channels
from domain.actor import Actor
from domain.streams import Entry

HEADER: Final = b"x-stream-position"

_reached: ContextVar[dict[str, int] | None] = ContextVar("reached", default=None)


def begin(request: Request[Any, Any, Any]) -> None:
    """Start collecting for this request; the tasks it starts inherit the same dict."""
    reached: dict[str, int] = {}
    _reached.set(reached)
    request.scope.setdefault("state", {})["reached"] = reached


def collect(entries: Sequence[Entry]) -> None:
    """A listener of domain/streams.py: the commit may be this request's."""
    reached = _reached.get()
    if reached is not None:
        reached.update((entry.channel, entry.offset) for entry in entries)


def withhold(request: Request[Any, Any, Any]) -> None:
    """Say nothing of what this request has changed: whoever asks is not in the team that it is news for."""
    request.scope["state"]["reached"].clear()
    request.scope["state"]["withheld"] = True


def reached(request: Request[Any, Any, Any], more: Sequence[Entry] = ()) -> dict[str, int]:
    """All that this request has reached, with entries that are about to be committed; nothing if withheld."""
    if "withheld" in request.scope["state"]:
        return {}
    known: dict[str, int] = request.scope["state"]["reached"]
    return known | {entry.channel: entry.offset for entry in more}


def header(scope: Any) -> bytes | None:
    """The header's value, or None where nothing was committed that is news for the caller."""
    state = scope.get("state", {})
    caller: Actor | None = state.get("caller")
    if "withheld" in state:
        return None
    told = [
        f"{channel}@{offset}"
        for channel, offset in state.get("reached", {}).items()
        if _is_news_for(caller, channel)
    ]
    return " ".join(told).encode() or None


def _is_news_for(caller: Actor | None, channel: str) -> bool:
    kind, owner_id = channels.parse(channel) or (None, "")
    if kind is None or kind.permission == "audit:read":
        return False
    # Without a caller it is a registration or a login: the only user in it is the one who does it.
    # An API key follows no channel of a user's.
    return kind.owner != "user" or caller is None or (caller.user_id == owner_id and caller.key_id is None)
