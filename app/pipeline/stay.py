"""The stay of a request: its place among those that are worked on, and its time (app/pipeline/bounds.py)."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from app.pipeline.load import Load, retry_after_s
from domain.errors import Unavailable

REFUSED: Final = "There is more to do than can be done in time: try again later."


class Overloaded(Unavailable):
    """There is more to do than can be done in time."""

    code = "overloaded"


class Stay:
    """The place and the time of one request; in `scope["state"]["stay"]`."""

    __slots__ = ("_has_place", "_load", "timeout")

    def __init__(self, load: Load, timeout: asyncio.Timeout) -> None:
        self._load = load
        self._has_place = True
        self.timeout = timeout

    def leave(self) -> None:
        """Its place is free."""
        if self._has_place:
            self._has_place = False
            self._load.end()

    def pause(self) -> None:
        """No place any more, and no end of its time: the answer has begun, or the client sends."""
        self.leave()
        if self.timeout.when() is not None and not self.timeout.expired():
            self.timeout.reschedule(None)

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Without a place and without time. Raises Overloaded where too many send, and at the end where no
        place is left.
        """
        loop = asyncio.get_running_loop()
        due = self.timeout.when()
        left_s = due - loop.time() if due is not None else None
        if not self._load.begin_sending():
            raise Overloaded(REFUSED, retryAfter=retry_after_s())
        try:
            self.pause()
            yield
        finally:
            self._load.end_sending()
        if not self._load.begin():
            raise Overloaded(REFUSED, retryAfter=retry_after_s())
        self._has_place = True
        if left_s is not None and not self.timeout.expired():
            self.timeout.reschedule(loop.time() + left_s)


@contextmanager
def sending(scope: Any) -> Iterator[None]:
    """As long as the client of this request sends (the scope is that of any of Litestar's hooks)."""
    stay: Stay | None = scope["state"].get("stay")
    if stay is None:
        yield
        return
    with stay.sending():
        yield
