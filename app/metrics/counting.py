"""What is said through domain/measures.py, and what is heard of committed entries, as Prometheus metrics."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from app.metrics.table import COUNTERS, TIMES
from domain import measures
from domain.audit_logs.model import RECORDED
from domain.streams import Entry


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


class _Row(msgspec.Struct):
    action: str
    outcome: str


class _Recorded(msgspec.Struct):
    data: _Row


_recorded: Final = msgspec.json.Decoder(_Recorded)


def count_audit_rows(entries: Sequence[Entry]) -> None:
    """A listener of domain/streams.py: every audit row is an entry of its team's trail."""
    for entry in entries:
        if entry.type == RECORDED:
            row = _recorded.decode(entry.data).data
            measures.count("audit_rows", row.action, row.outcome)
