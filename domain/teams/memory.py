"""Memory: the roles that this process has just read, so that a burst of requests asks for them once.

A yes is good for LASTS_S, counted from before it was asked; a no is never remembered, so that whoever was let
in is in. News of a change of rights forgets a user at once: this process's own with the commit, another's
when the bus brings it (channels/relay.py). That is a matter of milliseconds; LASTS_S is what holds where it
comes late or never. Why: docs/decisions/0026.
"""

import time
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

from domain import channels
from domain.streams import Entry

V = TypeVar("V")

LASTS_S: Final = 0.2
USERS_MAX: Final = 10_000


def concerned(entries: Sequence[Entry]) -> set[str]:
    """Whose rights may have changed: everybody who is told something of their teams in person."""
    own = channels.user("")
    return {
        entry.channel.removeprefix(own)
        for entry in entries
        if entry.type.startswith("teams.") and entry.channel.startswith(own)
    }


class Memory(Generic[V]):
    """`{user: {team: value}}`, none of it older than `lasts_s`. One a process."""

    def __init__(self, lasts_s: float = LASTS_S, clock: Callable[[], float] = time.monotonic) -> None:
        self.lasts_s = lasts_s
        self._clock = clock
        self._known: dict[str, dict[str, tuple[V, float]]] = {}
        self._changes = 0

    def get(self, user_id: str, team_id: str) -> V | None:
        value, asked_at = self._known.get(user_id, {}).get(team_id, (None, 0.0))
        return value if self._clock() - asked_at < self.lasts_s else None

    def asking(self) -> tuple[int, float]:
        """To be said before the database is asked: what is read from now on is as old as now."""
        return self._changes, self._clock()

    def keep(self, user_id: str, team_id: str, value: V, asked: tuple[int, float]) -> None:
        """Remember, unless some rights have changed since it was asked: it may be from before that."""
        changes, asked_at = asked
        if changes != self._changes:
            return
        self._known.setdefault(user_id, {})[team_id] = (value, asked_at)
        if len(self._known) > USERS_MAX:
            del self._known[next(iter(self._known))]

    def forget(self, user_id: str) -> None:
        self._changes += 1
        self._known.pop(user_id, None)

    def listen(self, entries: Sequence[Entry]) -> None:
        """A listener of domain/streams.py: what this process has committed is felt in it at once."""
        for user_id in concerned(entries):
            self.forget(user_id)
