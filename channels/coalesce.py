"""Coalesced: many who ask at once are answered by one query.

While a query is under way, those who ask wait together for the next one; so nobody is answered with something
older than their question, and a thousand clients that connect at once cost a handful of queries.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

AT_ONCE_MAX: Final = 500
QUERIES_MAX: Final = 2


class Coalesced(Generic[K, V]):
    """`fetch` takes keys and returns what it found; `ask(key)` promises that, None where it found nothing.

    What `fetch` raises, everyone who asked gets.
    """

    def __init__(self, fetch: Callable[[Collection[K]], Awaitable[Mapping[K, V]]]) -> None:
        self._fetch = fetch
        self._waiting: dict[K, asyncio.Future[V | None]] = {}
        self._running: set[asyncio.Task[None]] = set()

    def ask(self, key: K) -> asyncio.Future[V | None]:
        """The answer to come; whoever waits for it shields it, since others may be waiting too."""
        waiting = self._waiting.get(key)
        if waiting is None:
            waiting = self._waiting[key] = asyncio.get_running_loop().create_future()
            if len(self._running) < QUERIES_MAX:
                self._start()
        return waiting

    def _start(self) -> None:
        task = asyncio.create_task(self._answer())
        self._running.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if self._waiting:
            self._start()

    async def _answer(self) -> None:
        """The task has only just begun, so whoever asked in the same turn is among those who wait."""
        keys = list(self._waiting)[:AT_ONCE_MAX]
        asked = {key: self._waiting.pop(key) for key in keys}
        if not asked:
            return  # another one, that began in the same turn, has taken them all
        try:
            found = await self._fetch(keys)
        except Exception as error:
            for future in asked.values():
                future.set_exception(error)
                future.exception()  # they may all be gone
        else:
            for key, future in asked.items():
                future.set_result(found.get(key))
