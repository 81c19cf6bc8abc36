"""Tasks that end together."""

import asyncio
from collections.abc import Callable, Collection, Coroutine
from typing import Any, Final

Work = Callable[[], Coroutine[Any, Any, None]]

CANCEL_AGAIN_AFTER_S: Final = 0.5
CANCEL_MAX: Final = 10


class Chores:
    """Work beside other work, given up together; `failed` hears what one of them raised."""

    def __init__(self, failed: Callable[[BaseException], None]) -> None:
        self._failed = failed
        self._tasks: set[asyncio.Task[None]] = set()

    def do(self, chore: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(chore)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def drop(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(error)


async def until_any(*waits: Coroutine[Any, Any, Any]) -> None:
    """Until one of these ends; the others are given up. Raises what it raised."""
    tasks = [asyncio.create_task(wait) for wait in waits]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await end(tasks)


async def end(tasks: Collection[asyncio.Task[Any]]) -> Collection[asyncio.Task[Any]]:
    """Cancel these until they have ended; those that have not after all.

    Once is not enough: asyncio.wait_for of Python 3.11, in which redis-py sends, loses a cancellation that
    comes together with the result.
    """
    running: Collection[asyncio.Task[Any]] = tasks
    for _ in range(CANCEL_MAX):
        for task in running:
            task.cancel()
        if running:
            _, running = await asyncio.wait(running, timeout=CANCEL_AGAIN_AFTER_S)
    for task in tasks:
        if task.done() and not task.cancelled():
            task.exception()  # whoever ends them does not ask how they fared
    return running
