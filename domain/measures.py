"""Measures: what happens that somebody may want to count. Said here, counted by the shell (app/metrics/).

    measures.count("sweeper_finds")
    measures.took("db_pool_wait", seconds)

A name that nobody counts costs a call. Labels are words of ours, never what somebody sent: each combination
is kept for as long as the process lives.
"""

from typing import Protocol


class Counting(Protocol):
    """Who counts: in the shell it is Prometheus, in a process without metrics nobody."""

    def count(self, name: str, labels: tuple[str, ...], by: float) -> None: ...

    def took(self, name: str, labels: tuple[str, ...], seconds: float) -> None: ...


_counting: Counting | None = None


def install(counting: Counting | None) -> None:
    """Let this one hear of everything from now on."""
    global _counting
    _counting = counting


def count(name: str, *labels: str, by: float = 1) -> None:
    """It happened, `by` times."""
    if _counting is not None:
        _counting.count(name, labels, by)


def took(name: str, seconds: float, *labels: str) -> None:
    """It lasted so long."""
    if _counting is not None:
        _counting.took(name, labels, seconds)
