"""Step 4: which positions a change has reached: `X-Stream-Position: inventory:team_…@17 audit:team_…@40`.

A client that follows those channels knows from it when it has seen its own change.
"""

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any, Final

from litestar import Request

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


def header(scope: Any) -> bytes | None:
    """The header's value, or None where nothing was committed."""
    reached: dict[str, int] | None = scope.get("state", {}).get("reached")
    if not reached:
        return None
    return " ".join(f"{channel}@{offset}" for channel, offset in reached.items()).encode()
