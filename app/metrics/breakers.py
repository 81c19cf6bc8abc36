"""Circuit breakers, as a gauge: each vendor's client says here how to ask whether its breaker is open."""

from collections.abc import Callable

from app.metrics.table import GAUGE

_asked: dict[str, Callable[[], bool]] = {}


def show(dependency: str, is_open: Callable[[], bool]) -> None:
    """Ask this about that dependency from now on. One process has one breaker for each."""
    _asked[dependency] = is_open


def look() -> None:
    for dependency, is_open in _asked.items():
        GAUGE["breaker_open"].labels(dependency).set(is_open())
