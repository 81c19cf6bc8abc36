"""Memory: what this process has just read of somebody's rights, so that a burst of requests asks for it once.

Of a user it is their roles, by team (teams/policy.py), and whom their sessions stand for, by session
(auth/credentials.py). A yes is good for LASTS_S, counted from before it was asked; a no is never remembered,
so that whoever was let in is in. News of the user forgets them at once: this process's own with the commit,
another's when the bus brings it (channels/relay.py). That is a matter of milliseconds; LASTS_S is what holds
where it comes late or never. Why: docs/decisions/0026, 0035.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Generic, TypeVar

from domain import channels, lines
from domain.streams import Entry

V = TypeVar("V")

LASTS_S: Final = 0.2
USERS_MAX: Final = 10_000
_ABOUT: Final = ("teams.", "auth.", "users.")


def concerned(entries: Sequence[Entry]) -> set[str]:
    """Whose rights may have changed: everybody who is told something in person, of teams or account."""
    own = channels.user("")
    return {
        entry.channel.removeprefix(own)
        for entry in entries
        if entry.type.startswith(_ABOUT) and entry.channel.startswith(own)
    }


class Memory(Generic[V]):
    """`{user: {team or session: value}}`, none of it older than `lasts_s`. One a process."""

    def __init__(self, lasts_s: float = LASTS_S, clock: Callable[[], float] = time.monotonic) -> None:
        self.lasts_s = lasts_s
        self._clock = clock
        self._known: dict[str, dict[str, tuple[V, float]]] = {}
        self._changes = 0
        self._under_way: dict[tuple[str, str], tuple[asyncio.Event, float]] = {}

    def get(self, user_id: str, of: str) -> V | None:
        value, asked_at = self._known.get(user_id, {}).get(of, (None, 0.0))
        return value if self._clock() - asked_at < self.lasts_s else None

    def asking(self) -> tuple[int, float]:
        """To be said before the database is asked: what is read from now on is as old as now."""
        return self._changes, self._clock()

    def keep(self, user_id: str, of: str, value: V, asked: tuple[int, float]) -> None:
        """Remember, unless some rights have changed since it was asked: it may be from before that."""
        changes, asked_at = asked
        if changes != self._changes:
            return
        self._known.setdefault(user_id, {})[of] = (value, asked_at)
        if len(self._known) > USERS_MAX:
            del self._known[next(iter(self._known))]

    async def recall(self, user_id: str, of: str, ask: Callable[[], Awaitable[V | None]]) -> V | None:
        """What is remembered, or else what `ask` finds out; of many at once one asks, for all of them.

        Raises what `ask` raises, to whoever asked; the others ask again then, and where there was nothing.
        """
        value = self.get(user_id, of)
        under_way = self._under_way.get((user_id, of)) if value is None else None
        if under_way is not None:
            await under_way[0].wait()
            value = self.get(user_id, of)
        if value is not None:
            return value
        asked = self.asking()
        over = asyncio.Event()
        self._under_way[user_id, of] = mine = over, asked[1]
        try:
            value = await ask()
            if value is not None:
                self.keep(user_id, of, value, asked)
        finally:
            over.set()
            if self._under_way.get((user_id, of)) is mine:
                del self._under_way[user_id, of]
        return value

    def waiting_s(self) -> float:
        """For how long what was asked first is not answered yet; 0 where everything is."""
        first = next(iter(self._under_way.values()), None)
        return 0.0 if first is None else self._clock() - first[1]

    def forget(self, user_id: str) -> None:
        self._changes += 1
        self._known.pop(user_id, None)


# Those of this process: each is made by the module that asks it.
of_process: Final[list[Memory[Any]]] = []


def _waiting_s() -> float:
    return max((memory.waiting_s() for memory in of_process), default=0.0)


lines.of_process.append(_waiting_s)


def forget(user_id: str) -> None:
    """Somebody's rights may have changed: nothing of them is remembered any more."""
    for memory in of_process:
        memory.forget(user_id)


def listen(entries: Sequence[Entry]) -> None:
    """A listener of domain/streams.py: what this process has committed is felt in it at once."""
    for user_id in concerned(entries):
        forget(user_id)
