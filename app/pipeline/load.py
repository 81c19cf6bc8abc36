"""Load: how many requests this process works on at once, and when it rather refuses one than lets all wait.

What counts is not how many there are but how long whoever is first in a line waits (for a connection, or for
what somebody else has asked the database: domain/lines.py), and how late the event loop is: a line that does
not get shorter helps nobody (CoDel, RFC 8289). Each time that the event loop is looked at
(app/event_loop.py): where the wait is beyond WAIT_MAX_S the limit shrinks by SHRINK, otherwise it grows by
GROW (AIMD, as TCP has it), between LEAST and MOST. Who comes beyond it is refused at once, which costs a
fraction of an answer.
"""

import random
import time
from typing import Final, Literal

from domain import lines

LEAST: Final = 20  # twice the pool: below that, connections would be idle
MOST: Final = 200
SENDING_MAX: Final = 256  # bodies under way, of up to a megabyte each
SHRINK: Final = 0.7
GROW: Final = 10  # from the least to the most in 2 s, at ten looks a second
WAIT_MAX_S: Final = 0.5  # a tenth of the time that a request has
# Drawn, so that those who were refused together do not come back together.
RETRY_AFTER_S: Final = (1, 3)


class Load:
    """Of one process. `refused` is counted while it lives; `wait_s` and `late_s` are of the last look."""

    def __init__(self) -> None:
        self.at_work = 0
        self.sending = 0
        self.limit = MOST
        self.refused = 0
        self.refused_at = float("-inf")
        self.wait_s = 0.0
        self.late_s = 0.0

    def begin(self) -> bool:
        """Whether one more may be worked on; if so, it ends with `end`."""
        if self.at_work >= self.limit:
            return self._refuse()
        self.at_work += 1
        return True

    def end(self) -> None:
        self.at_work -= 1

    def begin_sending(self) -> bool:
        """Whether one more may send a body, which is held in memory; if so, it ends with `end_sending`."""
        if self.sending >= SENDING_MAX:
            return self._refuse()
        self.sending += 1
        return True

    def end_sending(self) -> None:
        self.sending -= 1

    def look(self, *, wait_s: float, late_s: float) -> None:
        """Set the limit by what was found just now, in seconds."""
        self.wait_s, self.late_s = wait_s, late_s
        if max(wait_s, late_s) > WAIT_MAX_S:
            self.limit = max(LEAST, int(self.limit * SHRINK))
        else:
            self.limit = min(MOST, self.limit + GROW)

    def _refuse(self) -> Literal[False]:
        self.refused += 1
        self.refused_at = time.monotonic()
        return False

    def hear(self, late_s: float) -> None:
        """Look now; the event loop is so late."""
        self.look(wait_s=lines.waiting_s(), late_s=late_s)


def retry_after_s() -> int:
    """After how many seconds somebody who was refused may come again."""
    return random.randint(*RETRY_AFTER_S)  # noqa: S311 - no secret
