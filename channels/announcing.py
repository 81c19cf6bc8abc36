"""Announcing: for processes that change things and hear of none, such as workers.

What is not announced is found in the log by a server's sweeper, a second or two later.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from channels.bus import Bus, Listener
from channels.tasks import end
from domain import streams
from domain.streams import Entry


@asynccontextmanager
async def announcing(redis_url: str) -> AsyncIterator[Callable[[Sequence[Entry]], None]]:
    """Until the block ends, what this process commits is announced. Yields what does that."""
    deaf = Listener(on_publication=_ignore, on_push=_ignore, on_head=_ignore, on_link=_ignore)
    bus = Bus(redis_url, deaf)
    speaking = asyncio.create_task(bus.run_publisher(), name="the bus publisher")
    streams.listeners.append(bus.announce)
    try:
        yield bus.announce
    finally:
        streams.listeners.remove(bus.announce)
        await end([speaking])
        await bus.close()


def _ignore(*heard: object) -> None:
    """Nobody listens in this process."""
