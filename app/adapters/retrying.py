"""Whether to try again, and when: what failed, what that means, and how often trying again is allowed.

Waits are exponential with full jitter: anything from nought to a limit that doubles, so that those who failed
together do not come back together. Retry-After is waited for in full. A budget holds for each dependency: a
tenth of its calls may be tried again, and a few besides, so that trying again never multiplies what an
ailing server has to bear.

Not stamina (tenacity): its jitter is added to the exponential wait, and it knows neither budgets nor what is
left of a deadline.

Sources: RFC 9110 section 10.2.3 (Retry-After); "Exponential Backoff And Jitter", AWS; gRPC A6 and Finagle's
RetryBudget.
"""

import math
import time
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

import msgspec

from domain.clock import now

AGAIN: Final = frozenset({408, 429, 500, 502, 503, 504})
TOO_MANY: Final = 429
AFTER_MAX_S: Final = 86_400.0

PER_CALL: Final = 0.1
PER_S: Final = 0.1
TOKENS_MAX: Final = 10.0


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How long, and how often.

    `within_s` is for a call with all its tries and waits, `try_within_s` for each try. The n-th wait is at
    most `wait_s` * 2**(n - 1), and never above `wait_max_s`.
    """

    within_s: float
    try_within_s: float
    tries: int = 3
    wait_s: float = 0.1
    wait_max_s: float = 2.0

    def wait_before(self, retry: int, after_s: float | None, chance: float) -> float:
        """Seconds before the n-th retry (from 1); `chance` is from 0 to 1."""
        jitter = chance * min(self.wait_max_s, math.ldexp(self.wait_s, retry - 1))
        return jitter if after_s is None else after_s + jitter


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """How a vendor failed a try.

    `what` is for the log: a status or the name of an exception, nothing that the vendor wrote. `again` says
    whether another try may help, `undone` that nothing was done for certain, `after_s` what Retry-After asks.
    """

    what: str
    again: bool = True
    undone: bool = False
    after_s: float | None = None


def of_status(status: int, retry_after: str | None = None) -> Failure | None:
    """The failure that a status stands for; None for an answer, be it a refusal.

    To be throttled counts as a failure: whoever is told so half of the time should ask less.
    """
    if status < 500 and status not in AGAIN:
        return None
    return Failure(
        what=str(status), again=status in AGAIN, undone=status == TOO_MANY, after_s=seconds(retry_after)
    )


def seconds(retry_after: str | None) -> float | None:
    """What a Retry-After means from now on, up to AFTER_MAX_S; None for what means nothing."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), AFTER_MAX_S)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return min(max(0.0, (date - now()).total_seconds()), AFTER_MAX_S)


class Budget:
    """Tokens: a retry takes one, a call brings a tenth of one and so does a second; TOKENS_MAX at most."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tokens = TOKENS_MAX
        self._at = clock()

    def call(self) -> None:
        self._earn(PER_CALL)

    def retry(self) -> bool:
        """Whether one more is allowed; then it is taken."""
        self._earn(0.0)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _earn(self, tokens: float) -> None:
        at = self._clock()
        self._tokens = min(TOKENS_MAX, self._tokens + tokens + (at - self._at) * PER_S)
        self._at = at
