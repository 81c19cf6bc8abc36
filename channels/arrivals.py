"""Arrivals: how old news is when it gets here, and what only a sweep has found."""

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from channels.hub import Hub
from domain import measures
from domain.streams import Head

# Looking at each would be felt where a channel is busy: one in so many seconds tells the same.
LOOK_EVERY_S: Final = 0.05
# Where the time stands in what is announced (domain/events.py: Envelope); news that quotes one comes later.
_TIME: Final = re.compile(rb'"data":\{"id":"[^"]*","type":"[^"]*","time":"([^"]+)"')

Deliver = Callable[[str, str, int, bytes], None]


def timed(deliver: Deliver) -> Deliver:
    """`deliver`, which also tells every LOOK_EVERY_S how long ago that happened which is passed on."""
    due = 0.0

    def delivered(channel: str, epoch: str, offset: int, pushed: bytes) -> None:
        nonlocal due
        deliver(channel, epoch, offset, pushed)
        if (at := time.monotonic()) >= due:
            due = at + LOOK_EVERY_S
            if (age := age_s(pushed)) is not None:
                measures.took("delivery_lag", age)

    return delivered


def age_s(pushed: bytes) -> float | None:
    """Seconds since it happened, by the clocks of two machines; None for what does not say."""
    found = _TIME.search(pushed, 0, 400)
    if found is None:
        return None
    try:
        happened = datetime.fromisoformat(found[1].decode())
    except (ValueError, UnicodeDecodeError):
        return None
    return max(0.0, (datetime.now(UTC) - happened).total_seconds())


def head(hub: Hub, told: Head) -> None:
    """A head that a sweep announces: what this process has not got was announced by nobody, or too late."""
    if hub.top(told.channel, told.epoch, told.offset):
        measures.count("sweeper_finds")
