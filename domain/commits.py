"""Which tasks are at their COMMIT, or past it: cancelling one of those undoes nothing, it only leaves what
was committed unannounced. Whoever would cancel somebody's work asks here first.
"""

import asyncio
from typing import Any, Final
from weakref import WeakSet

_begun: Final[WeakSet[asyncio.Task[Any]]] = WeakSet()


def begin(task: asyncio.Task[Any] | None) -> None:
    """This task commits now; what it has said from here on stays said."""
    if task is not None:
        _begun.add(task)


def have_begun(task: asyncio.Task[Any]) -> bool:
    return task in _begun
