"""The deadline of whoever asked: what is done for a request is of no use to anybody after it.

Set where a request comes in, read where something is asked of others on its behalf
(app/adapters/outgoing.py): they are given what is left, and no wait is begun that would outlast it.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_left: ContextVar[Callable[[], float | None]] = ContextVar("deadline", default=lambda: None)


@contextmanager
def within(seconds: float | None) -> Iterator[None]:
    """Whatever runs in this block has so many seconds; never more than it had. None takes the limit away.

    It interrupts nobody. Without a limit is what goes on for others than those who began it.
    """
    if seconds is None:
        with _leaving(lambda: None):
            yield
        return
    ends, before = time.monotonic() + seconds, _left.get()

    def left_of_both() -> float:
        mine, given = ends - time.monotonic(), before()
        return mine if given is None else min(mine, given)

    with _leaving(left_of_both):
        yield


@contextmanager
def of(timeout: asyncio.Timeout) -> Iterator[None]:
    """Whatever runs in this block ends with that timeout, which may be moved meanwhile."""
    loop = asyncio.get_running_loop()

    def left_of_it() -> float | None:
        due = timeout.when()
        return None if due is None else due - loop.time()

    with _leaving(left_of_it):
        yield


def left_s() -> float | None:
    """What is left, in seconds; nought or less after the end, None where there is none."""
    return _left.get()()


@contextmanager
def _leaving(left: Callable[[], float | None]) -> Iterator[None]:
    token = _left.set(left)
    try:
        yield
    finally:
        _left.reset(token)
