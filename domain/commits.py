"""Which tasks are at their COMMIT, or past it: cancelling one of those undoes nothing, it only leaves what
was committed unannounced. Whoever would cancel somebody's work asks here first.

A deadline asks nobody: while a commit is under way, and until what it says is announced, it is put off.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final
from weakref import WeakSet

AFTERWARDS_S: Final = 1.0  # for the answer, at least

_begun: Final[WeakSet[asyncio.Task[Any]]] = WeakSet()
_deadline: ContextVar[asyncio.Timeout | None] = ContextVar("deadline of commits", default=None)


@contextmanager
def bound_by(deadline: asyncio.Timeout) -> Iterator[None]:
    """What commits in this block puts that deadline off meanwhile."""
    token = _deadline.set(deadline)
    try:
        yield
    finally:
        _deadline.reset(token)


class Committing:
    """From COMMIT to the end of its announcement; `over` in any case."""

    def __init__(self, task: asyncio.Task[Any] | None) -> None:
        if task is not None:
            _begun.add(task)
        self._deadline = _deadline.get()
        due = self._deadline.when() if self._deadline is not None else None
        self._due = None if due is None or self._deadline is None or self._deadline.expired() else due
        if self._due is not None and self._deadline is not None:
            self._deadline.reschedule(None)

    def over(self) -> None:
        if self._due is not None and self._deadline is not None:
            soon = asyncio.get_running_loop().time() + AFTERWARDS_S
            self._deadline.reschedule(max(self._due, soon))


def have_begun(task: asyncio.Task[Any]) -> bool:
    return task in _begun
