"""What is said through domain/measures.py, as Prometheus metrics."""

from typing import Any

from app.metrics.table import COUNTERS, TIMES


class Prometheus:
    """What is counted so often that looking a metric up by its labels would be felt is looked up once."""

    def __init__(self) -> None:
        self._counters: dict[tuple[str, tuple[str, ...]], Any] = {}
        self._times: dict[tuple[str, tuple[str, ...]], Any] = {}

    def count(self, name: str, labels: tuple[str, ...], by: float) -> None:
        counter = self._counters.get((name, labels))
        if counter is None:
            made = COUNTERS[name]
            counter = self._counters[name, labels] = made.labels(*labels) if labels else made
        counter.inc(by)

    def took(self, name: str, labels: tuple[str, ...], seconds: float) -> None:
        time = self._times.get((name, labels))
        if time is None:
            made = TIMES[name]
            time = self._times[name, labels] = made.labels(*labels) if labels else made
        time.observe(seconds)
