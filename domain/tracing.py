"""Tracing: spans around what takes time, if somebody traces (app/tracing.py), and nothing at all otherwise.

`traceparent` is the W3C's: it takes a trace from here to a job, and over the bus to other processes.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Final, Protocol

TRACEPARENT: Final = "traceparent"


class Tracer(Protocol):
    """Who traces."""

    def span(self, name: str, traceparent: str | None, follows: str | None) -> AbstractContextManager[None]:
        """A span of this task, inside the current one, or inside the one named; `follows` is another trace's
        to which it is linked, and of which it is no part.
        """

    def request(self, method: str, route: str, status: int) -> None:
        """The current span is a request, which is over."""

    def traceparent(self) -> str | None:
        """The current span, for elsewhere; None outside of any, and for what is not sampled."""

    def statement(self, kind: str, sql: str, seconds: float, error: BaseException | None) -> None:
        """A statement of the current task has just ended; `sql` has no values in it."""

    def delivered(self, channel: str, offset: int, traceparent: str) -> None:
        """A publication from that span is being written to who follows here, until this turn ends."""


tracer: Tracer | None = None
_NOTHING: Final = nullcontext()


def install(given: Tracer | None) -> None:
    global tracer
    tracer = given


def span(
    name: str, traceparent: str | None = None, *, follows: str | None = None
) -> AbstractContextManager[None]:
    """The block as a span (see Tracer)."""
    return _NOTHING if tracer is None else tracer.span(name, traceparent, follows)


def traceparent() -> str | None:
    """The current span, for elsewhere."""
    return None if tracer is None else tracer.traceparent()


def delivered(channel: str, offset: int, traced: bytes) -> None:
    """See Tracer; of what another process traces and this one does not, nothing is kept."""
    if tracer is not None:
        tracer.delivered(channel, offset, traced.decode("ascii", "replace"))
