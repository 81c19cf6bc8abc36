"""Which tasks are at a COMMIT: to cancel one of those undoes nothing, it only leaves what was committed
unannounced. Whoever would cancel somebody's work asks here first.

Once it is announced they are as before: a verb may have more to do, of which nobody waits for the end, and
what it has committed stays, with the answer to its idempotency key if that was its last.

A deadline asks nobody: while a commit is under way, and until what it says is announced, it is put off.
"""

import asyncio
from typing import Any, Final
from weakref import WeakSet

from domain import deadline

AFTERWARDS_S: Final = 1.0  # for the answer, at least

_at_it: Final[WeakSet[asyncio.Task[Any]]] = WeakSet()


class Committing:
    """From COMMIT to the end of its announcement; `over` in any case."""

    def __init__(self, task: asyncio.Task[Any] | None) -> None:
        self._task = task
        if task is not None:
            _at_it.add(task)
        self._timeout = deadline.timeout()
        due = self._timeout.when() if self._timeout is not None else None
        self._due = None if due is None or self._timeout is None or self._timeout.expired() else due
        if self._due is not None and self._timeout is not None:
            self._timeout.reschedule(None)

    def over(self) -> None:
        if self._task is not None:
            _at_it.discard(self._task)
        if self._due is not None and self._timeout is not None:
            soon = asyncio.get_running_loop().time() + AFTERWARDS_S
            self._timeout.reschedule(max(self._due, soon))


def is_under_way(task: asyncio.Task[Any]) -> bool:
    return task in _at_it
