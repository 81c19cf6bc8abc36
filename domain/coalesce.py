"""Coalesced: many who ask at once are answered by one query.

While queries are under way, those who ask wait together for the next one; so nobody is answered with
something older than their question, and a thousand clients that connect at once cost a handful of queries.
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
        self._waiting: dict[K, list[asyncio.Future[V | None]]] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._is_starting = False

    def ask(self, key: K) -> asyncio.Future[V | None]:
        """The answer to come: the asker's own, who may go away without waiting for it."""
        answer: asyncio.Future[V | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, []).append(answer)
        if not self._is_starting and len(self._running) < QUERIES_MAX:
            self._start()
        return answer

    def _start(self) -> None:
        self._is_starting = True
        task = asyncio.create_task(self._answer())
        self._running.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if self._waiting:
            self._start()

    async def _answer(self) -> None:
        """The task has only just begun, so whoever asked in the same turn is among those who wait."""
        self._is_starting = False
        keys = list(self._waiting)[:AT_ONCE_MAX]
        asked = {key: [answer for answer in self._waiting.pop(key) if not answer.done()] for key in keys}
        asked = {key: answers for key, answers in asked.items() if answers}
        if not asked:
            return  # nobody waits any more
        try:
            found = await self._fetch(asked.keys())
        except Exception as error:
            for answers in asked.values():
                for answer in answers:
                    if not answer.done():
                        answer.set_exception(error)
                        answer.exception()  # whoever asked may be gone
        else:
            for key, answers in asked.items():
                for answer in answers:
                    if not answer.done():
                        answer.set_result(found.get(key))
