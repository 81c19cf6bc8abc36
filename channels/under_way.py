"""What a connection has under way: a command, which may be an rpc, whose work is a task of its own.

the client is gone   the work is stopped as that of a request is (channels/hang_ups.py)
the server stops     the command is finished and answered first; then the connection is closed
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from channels import hang_ups
from channels.protocol import Refused


class UnderWay:
    """`busy` while a frame is carried out, of which one command after another is; `hang_up` closes."""

    def __init__(self, hang_up: Callable[[int], None]) -> None:
        self.busy = False
        self._hang_up = hang_up
        self._at_command = False
        self._drains = False
        self._work: asyncio.Task[None] | None = None

    @contextmanager
    def command(self) -> Iterator[None]:
        """One is carried out until the block ends."""
        self._at_command = True
        try:
            yield
        finally:
            self._at_command = False
            if self._drains:
                self._hang_up(3001)

    def drain(self) -> None:
        """It is this connection's turn to be closed, since the server stops."""
        self._drains = True
        if not self._at_command:
            self._hang_up(3001)

    async def finish(self, work: Coroutine[Any, Any, None]) -> None:
        """Let it run; what it puts into its context is not ours. Raises what it raises; Refused 100 where it
        was stopped.

        Whoever cancels this (the server, at the end of its grace) waits until it is undone, or committed.
        """
        self._work = task = asyncio.create_task(work)
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            while not task.done():
                hang_ups.stop(task)
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait({task})  # a commit is bounded (domain/db.py), and so is a rollback
            raise
        finally:
            self._work = None
        if task.cancelled():
            raise Refused(100)
        task.result()

    def client_is_gone(self) -> None:
        """Stop what nobody waits for."""
        if self._work is not None and hang_ups.stop(self._work):
            self._work.add_done_callback(_count)


def _count(work: asyncio.Task[None]) -> None:
    if work.cancelled():
        hang_ups.count("rpc")
