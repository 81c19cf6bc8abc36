"""The deadline of whoever asked: what is done for a request is of no use to anybody after it.

Set where a request comes in. Read where something is asked of others on its behalf
(app/adapters/outgoing.py): they are given what is left, and no wait is begun that would outlast it; and put
off while a commit is under way (domain/commits.py).
"""

import asyncio
import time
from contextvars import ContextVar, Token
from typing import Self


class Deadline:
    """That of a block. `timeout` is what interrupts whoever works in it, where something does."""

    __slots__ = ("_before", "_ends", "_outer", "timeout")

    def __init__(
        self, timeout: asyncio.Timeout | None, ends: float | None = None, outer: "Deadline | None" = None
    ) -> None:
        self.timeout = timeout
        self._ends = ends
        self._outer = outer

    def __enter__(self) -> Self:
        self._before: Token[Deadline | None] = _current.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        _current.reset(self._before)

    def left_s(self) -> float | None:
        """What is left, in seconds; nought or less after the end, None where there is none."""
        if self._outer is not None:
            given = self._outer.left_s()
        else:
            due = self.timeout.when() if self.timeout is not None else None
            given = None if due is None else due - asyncio.get_running_loop().time()
        mine = None if self._ends is None else self._ends - time.monotonic()
        return mine if given is None else given if mine is None else min(mine, given)


_current: ContextVar[Deadline | None] = ContextVar("deadline", default=None)


def of(timeout: asyncio.Timeout) -> Deadline:
    """Whatever runs in this block ends with that timeout, which may be moved meanwhile."""
    return Deadline(timeout)


def within(seconds: float | None) -> Deadline:
    """Whatever runs in this block has so many seconds; never more than it had. None takes the limit away.

    It interrupts nobody. Without a limit is what goes on for others than those who began it.
    """
    if seconds is None:
        return Deadline(None)
    outer = _current.get()
    return Deadline(outer.timeout if outer else None, time.monotonic() + seconds, outer)


def left_s() -> float | None:
    """Of the block around; None where there is no end."""
    current = _current.get()
    return None if current is None else current.left_s()


def timeout() -> asyncio.Timeout | None:
    """What interrupts whoever works here."""
    current = _current.get()
    return None if current is None else current.timeout
