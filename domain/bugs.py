"""Bugs: what nobody foresaw is logged where it happens, and told to whoever wants to know.

That is app/adapters/sentry.py where it is configured, and nobody otherwise.
"""

from collections.abc import Callable

import msgspec


class Circumstances(msgspec.Struct, frozen=True, kw_only=True):
    """Where it happened: `where` names a route by its template, a job or a task; nothing of what was sent."""

    where: str
    request_id: str | None = None


Tell = Callable[[BaseException, Circumstances], None]

_tell: Tell | None = None


def install(tell: Tell | None) -> None:
    """Tell this one; None for nobody. It must neither block nor raise."""
    global _tell
    _tell = tell


def report(error: BaseException, *, where: str, request_id: str | None = None) -> None:
    """Tell of a bug. Whoever calls this has logged it."""
    if _tell is not None:
        _tell(error, Circumstances(where=where, request_id=request_id))
