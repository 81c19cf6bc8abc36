"""Coalesced: many who ask at once are answered by one query.

While queries are under way, those who ask wait together for the next one; so nobody is answered with
something older than their question, and a thousand clients that connect at once cost a handful of queries.

A query that takes long (over a connection that is dead, behind a lock) holds up those whom it answers, and
nobody else: after STUCK_AFTER_S the next one goes out beside it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

AT_ONCE_MAX: Final = 500
QUERIES_MAX: Final = 2
STUCK_AFTER_S: Final = 2.0
STUCK_MAX: Final = 4  # beside QUERIES_MAX: the others may have the rest of the pool


class Coalesced(Generic[K, V]):
    """`fetch` takes keys and returns what it found; `ask(key)` promises that, None where it found nothing.

    What `fetch` raises, everyone who asked gets.
    """

    def __init__(self, fetch: Callable[[Collection[K]], Awaitable[Mapping[K, V]]]) -> None:
        self._fetch = fetch
        self._waiting: dict[K, list[asyncio.Future[V | None]]] = {}
        self._waiting_since = 0.0
        self._running: dict[asyncio.Task[None], float] = {}  # since when the first of theirs has waited
        self._stuck: set[asyncio.Task[None]] = set()
        self._is_starting = False

    def ask(self, key: K) -> asyncio.Future[V | None]:
        """The answer to come: the asker's own, who may go away without waiting for it."""
        answer: asyncio.Future[V | None] = asyncio.get_running_loop().create_future()
        if not self._waiting:
            self._waiting_since = time.monotonic()
        self._waiting.setdefault(key, []).append(answer)
        if not self._is_starting and self._has_room():
            self._start()
        return answer

    def waiting_s(self) -> float:
        """For how long the oldest question is not answered yet; 0 where all are."""
        first = next(iter(self._running.values()), None)  # they begin in the order of their questions
        return 0.0 if first is None else time.monotonic() - first

    def _has_room(self) -> bool:
        return len(self._running) - len(self._stuck) < QUERIES_MAX

    def _start(self) -> None:
        self._is_starting = True
        task = asyncio.create_task(self._answer())
        self._running[task] = self._waiting_since
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self._stuck.discard(task)
        if self._waiting and self._has_room():
            self._start()

    def _takes_long(self, task: asyncio.Task[None] | None) -> None:
        if task is not None and len(self._stuck) < STUCK_MAX:
            self._stuck.add(task)
            if self._waiting and self._has_room():
                self._start()

    async def _answer(self) -> None:
        """The task has only just begun, so whoever asked in the same turn is among those who wait."""
        self._is_starting = False
        keys = list(self._waiting)[:AT_ONCE_MAX]
        asked = {key: [answer for answer in self._waiting.pop(key) if not answer.done()] for key in keys}
        asked = {key: answers for key, answers in asked.items() if answers}
        self._waiting_since = time.monotonic()  # of those who were too many
        if not asked:
            return  # nobody waits any more
        late = asyncio.get_running_loop().call_later(STUCK_AFTER_S, self._takes_long, asyncio.current_task())
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
        finally:
            late.cancel()
