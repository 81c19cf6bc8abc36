"""Announcing: for processes that change things and hear of none, such as workers.

What is not announced is found in the log by a server's sweeper, a second or two later.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from channels.bus import Bus
from channels.bus_format import Listener
from channels.tasks import Work
from domain import streams
from domain.streams import Entry


@asynccontextmanager
async def announcing(
    redis_url: str, beside: Callable[[str, Work], AbstractAsyncContextManager[None]]
) -> AsyncIterator[Callable[[Sequence[Entry]], None]]:
    """Until the block ends, what this process commits is announced. Yields what does that.

    `beside` runs work under a name until its block ends, and sees to it if that dies.
    """
    deaf = Listener(on_publication=_ignore, on_push=_ignore, on_head=_ignore, on_link=_ignore)
    bus = Bus(redis_url, deaf)
    try:
        async with beside("the bus publisher", bus.run_publisher):
            streams.listeners.append(bus.announce)
            try:
                yield bus.announce
            finally:
                streams.listeners.remove(bus.announce)
                await bus.said()
    finally:
        await bus.close()


def _ignore(*heard: object) -> None:
    """Nobody listens in this process."""
