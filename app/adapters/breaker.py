"""A circuit breaker: whoever fails half of the time is left alone for a while, then tried carefully.

Closed    calls go through. Of the newest WINDOW, half failed: it opens.
Open      nobody calls for OPEN_S seconds.
Trying    PROBES calls go through, one each; all good: closed, one bad: open again.

In this process alone: each finds out for itself. `clock` is for tests, which cannot wait.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Final

WINDOW: Final = 20
OPEN_S: Final = 30.0
PROBES: Final = 3


class Breaker:
    """`if breaker.lets(): call, and tell it `.done(well)`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._newest: deque[bool] = deque(maxlen=WINDOW)
        self._opened_at: float | None = None
        self._probes = 0
        self._good = 0

    def lets(self) -> bool:
        """Whether a call may be made now. Who is let through must say how it went."""
        if self._opened_at is None:
            return True
        if self._clock() - self._opened_at < OPEN_S or self._probes == PROBES:
            return False
        self._probes += 1
        return True

    def done(self, well: bool) -> None:
        """How a call went. One that was made before it opened tells nothing new."""
        if self._opened_at is not None:
            if self._probes:
                self._probed(well)
            return
        self._newest.append(well)
        if len(self._newest) == WINDOW and self._newest.count(False) * 2 >= WINDOW:
            self._open()

    def _probed(self, well: bool) -> None:
        self._good += well
        if not well:
            self._open()
        elif self._good == PROBES:
            self._newest.clear()
            self._opened_at = None

    def _open(self) -> None:
        self._opened_at = self._clock()
        self._probes = self._good = 0
