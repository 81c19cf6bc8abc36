"""A circuit breaker: whoever fails half of the time is left alone for a while, then tried carefully.

Closed      tries go through. Of the newest (at most WINDOW, none older than WINDOW_S) there are at least
            CALLS_MIN, and half of them failed: it opens.
Open        nobody tries for OPEN_S.
Half open   PROBES tries go through; all of them good: closed, one bad: open again.

How a try went is true, false, or None: it was given up by whoever wanted it, which says nothing about the
other side. Then it does not count, and a probe's place is free for the next one: a probe that never ends
keeps nobody out, since every try has a deadline (app/adapters/outgoing.py).

In this process alone: each finds out for itself. `clock` is for tests, which cannot wait.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Final

from domain.health import State

WINDOW: Final = 100
WINDOW_S: Final = 300.0
CALLS_MIN: Final = 20
OPEN_S: Final = 30.0
PROBES: Final = 3


class Breaker:
    """`place = breaker.admit()`: None says no; else try, and say `breaker.done(place, well)` in any case.

    `on_change` is told the state before. `calls` and `failures` are those of the newest tries.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        on_change: Callable[[State], None] = lambda before: None,
    ) -> None:
        self.state: State = "closed"
        self._clock = clock
        self._on_change = on_change
        self._newest: deque[tuple[float, bool]] = deque(maxlen=WINDOW)
        self._round = 0
        self._opened_at = 0.0
        self._probing = 0
        self._good = 0

    @property
    def calls(self) -> int:
        return len(self._newest)

    @property
    def failures(self) -> int:
        return sum(not well for _, well in self._newest)

    @property
    def opens_in_s(self) -> float:
        """How long nobody is let through; 0 where somebody is, or may be in a moment."""
        return max(0.0, OPEN_S - (self._clock() - self._opened_at)) if self.state == "open" else 0.0

    def admit(self) -> int | None:
        """A place for one try, if it may be made now."""
        if self.state == "open" and self.opens_in_s == 0:
            self._become("half_open")
        if self.state == "closed":
            return self._round
        if self.state == "open" or self._probing + self._good == PROBES:
            return None
        self._probing += 1
        return self._round

    def done(self, place: int, well: bool | None) -> None:
        """How a try went. One that began before the state changed tells nothing new."""
        if place != self._round:
            return
        if self.state == "half_open":
            self._probed(well)
        elif well is not None:
            self._count(well)

    def _count(self, well: bool) -> None:
        now = self._clock()
        self._newest.append((now, well))
        while now - self._newest[0][0] > WINDOW_S:
            self._newest.popleft()
        if not well and self.calls >= CALLS_MIN and self.failures * 2 >= self.calls:
            self._become("open")

    def _probed(self, well: bool | None) -> None:
        self._probing -= 1
        if well is None:
            return
        self._good += well
        if not well:
            self._become("open")
        elif self._good == PROBES:
            self._newest.clear()
            self._become("closed")

    def _become(self, state: State) -> None:
        before, self.state = self.state, state
        self._round += 1
        self._probing = self._good = 0
        if state == "open":
            self._opened_at = self._clock()
        self._on_change(before)
