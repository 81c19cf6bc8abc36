"""Supervision: background tasks without which a process would only seem to work.

One that ends before it may is told (log and bugs) and stops the process, which ends with a failure: to die is
seen, restarted and mended. Servers (app/lifespan.py) and workers (app/background.py) do it alike.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from channels.tasks import Work, end
from domain import bugs

log = logging.getLogger("maycole.supervise")


class Stopped(OSError):
    """It stopped although nobody asked it to."""


class Supervision:
    """The background `tasks` of a process: `stop` ends it in good order, `died` names who made it do so."""

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop
        self.tasks: set[asyncio.Task[None]] = set()
        self.died: str | None = None

    def supervise(self, name: str, work: Work) -> asyncio.Task[None]:
        """Run `work` in the background, for as long as the process lives: if it ends, so does the process."""
        task = asyncio.create_task(work(), name=name)
        self.tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    @asynccontextmanager
    async def beside(self, name: str, work: Work) -> AsyncIterator[None]:
        """Run `work` until the block ends: if it ends before, so does the process."""
        task = self.supervise(name, work)
        try:
            yield
        finally:
            await self._end({task})

    def let_go(self) -> None:
        """From now on tasks may end."""
        for task in self.tasks:
            task.remove_done_callback(self._ended)

    async def end(self) -> None:
        """End all of them."""
        await self._end(set(self.tasks))

    async def _end(self, tasks: set[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.remove_done_callback(self._ended)
        self.tasks -= tasks
        if left := await end(tasks):
            log.error("still at it, and left behind: %s", ", ".join(task.get_name() for task in left))

    def _ended(self, task: asyncio.Task[None]) -> None:
        name = task.get_name()
        error = None if task.cancelled() else task.exception()
        log.critical("%s died: this process stops", name, exc_info=error)
        if error is not None:
            bugs.report(error, where=name)
        if self.died is None:  # to be told twice is to stop at once (app/stopping.py)
            self.died = name
            self._stop()
