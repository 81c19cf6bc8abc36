"""The deadline of whoever asked: what is done for a request is of no use to anybody after it.

Set where a request comes in, read where something is asked of others on its behalf
(app/adapters/outgoing.py): they are given what is left, and no try is begun that could not end in time.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_ends: ContextVar[float | None] = ContextVar("deadline", default=None)


@contextmanager
def within(seconds: float | None) -> Iterator[None]:
    """Whatever runs in this block has so many seconds; never more than it had. None takes the limit away.

    It interrupts nobody. Without a limit is what goes on for others than those who began it.
    """
    now, before = time.monotonic(), _ends.get()
    ends = None if seconds is None else now + seconds
    token = _ends.set(ends if before is None or ends is None else min(before, ends))
    try:
        yield
    finally:
        _ends.reset(token)


def left_s() -> float | None:
    """What is left, in seconds; nought or less after the end, None where there is none."""
    ends = _ends.get()
    return None if ends is None else ends - time.monotonic()
