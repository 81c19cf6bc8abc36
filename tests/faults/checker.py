"""The checker: pure functions over a history, each finding one line that says who, where and what.

C0  the log itself is true: offsets 1, 2, 3 …, every acknowledged change in it once and where it was told,
    nothing undone in it, every table agreeing with it
C1  every entry committed after a follower came in was delivered, recovered, or covered by a snapshot
C2  offsets rise by one
C3  nothing reaches a handler twice
C4  nothing undone is ever seen: what was seen at an offset is what the log has there
C5  where recovery was impossible the server said so: no gap without a word, no "recovered" that is not
C6  nothing is seen after a revocation plus its bound, or after the server said that it is over
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from tests.faults.history import (
    Books,
    Committed,
    History,
    Joined,
    Left,
    Revoked,
    Saw,
    Seen,
    Snapshot,
    Write,
)

KINDS: Final = ("lost", "doubled", "disordered", "undone", "dishonest", "revoked")


class Finding(msgspec.Struct, frozen=True):
    """One violation. `rule` is C0 to C6, `kind` the column of the table that it counts in."""

    rule: str
    kind: str
    what: str


class Verdict(msgspec.Struct, frozen=True):
    """All findings of a run; `committed` entries were at stake."""

    findings: Sequence[Finding]
    committed: int
    staleness_s: float

    def count(self, kind: str) -> int:
        assert kind in KINDS
        return sum(finding.kind == kind for finding in self.findings)

    def said(self, *, most: int = 12) -> str:
        lines = [f"{finding.rule} {finding.kind}: {finding.what}" for finding in self.findings]
        return "\n".join([*lines[:most], *([f"and {len(lines) - most} more"] if len(lines) > most else [])])


def check(history: History) -> Verdict:
    """Everything that is wrong with this history, and how late the latest delivery was."""
    log = by_channel(history.log)
    findings = [
        *log_findings(history.log),
        *write_findings(history.log, history.writes),
        *(finding for books in history.books for finding in book_findings(books)),
    ]
    for name, seen in history.followers.items():
        findings += follower_findings(name, seen, log)
    return Verdict(findings, len(history.log), staleness(history))


def by_channel(log: Sequence[Committed]) -> dict[str, dict[int, Committed]]:
    entries: dict[str, dict[int, Committed]] = defaultdict(dict)
    for entry in log:
        entries[entry.channel][entry.offset] = entry
    return entries


def log_findings(log: Sequence[Committed]) -> Iterator[Finding]:
    """C0: each channel's offsets are 1 to n, each once."""
    counts: dict[str, Counter[int]] = defaultdict(Counter)
    for entry in log:
        counts[entry.channel][entry.offset] += 1
    for channel, offsets in counts.items():
        for offset, times in offsets.items():
            if times > 1:
                yield Finding("C0", "disordered", f"the log has {channel}@{offset} {times} times")
        for offset in range(1, max(offsets)):
            if offset not in offsets:
                yield Finding("C0", "disordered", f"the log has no {channel}@{offset}")


def write_findings(log: Sequence[Committed], writes: Sequence[Write]) -> Iterator[Finding]:
    """C0: what was acknowledged is in the log where it was told, what was undone is not."""
    places: dict[str, list[Committed]] = defaultdict(list)
    for entry in log:
        if entry.marker:
            places[entry.marker].append(entry)
    for write in writes:
        found = places.get(write.marker, [])
        where = f"{write.marker} on {write.channel}"
        if write.outcome == "undone" and found:
            yield Finding("C0", "undone", f"{where} was undone and is in the log")
        elif write.outcome == "committed" and not found:
            yield Finding("C0", "lost", f"{where}@{write.offset} was acknowledged and is not in the log")
        elif len(found) > 1:
            yield Finding("C0", "doubled", f"{where} is in the log {len(found)} times")
        elif write.outcome == "committed" and write.offset and found[0].offset != write.offset:
            yield Finding("C0", "disordered", f"{where} is at {found[0].offset}, told was {write.offset}")


def book_findings(books: Books) -> Iterator[Finding]:
    """C0: row, movements, entries and audit trail of an item tell the same story; nothing half applied."""
    changes = books.quantity - books.began
    if books.moved != books.quantity:
        yield Finding("C0", "lost", f"{books.item_id}: {books.moved} pieces moved, {books.quantity} there")
    for name in ("movements", "entries", "audits"):
        if getattr(books, name) != changes + 1:  # one for its creation
            what = f"{books.item_id}: {getattr(books, name)} {name} for {changes} changes"
            yield Finding("C0", "lost", what)


@dataclass
class _Stay:
    """A follower on one channel while its history is walked through."""

    who: str
    channel: str
    log: Mapping[int, Committed]
    epoch: str = ""
    at: int = 0  # everything up to here was seen, covered, or is in `missing` or `untold`
    open: bool = False
    ended: bool = False
    recovered: bool = False  # the last word was a "recovered", and nothing has been seen since
    seen: set[int] = field(default_factory=set)
    missing: set[int] = field(default_factory=set)  # passed over, not told of
    untold: set[int] = field(default_factory=set)  # told of: a snapshot must cover them
    revoked_at: float | None = None
    sent_away: int | None = None
    findings: list[Finding] = field(default_factory=list)

    def find(self, rule: str, kind: str, what: str) -> None:
        self.findings.append(Finding(rule, kind, f"{self.who}, {self.channel}: {what}"))

    def joined(self, joined: Joined) -> None:
        first, self.open, self.ended = not self.open, True, False
        if first:
            self.epoch, self.at, self.recovered = joined.epoch, joined.offset, False
            return
        if joined.recovered:
            # SDKs count from where they were; what was missed follows as publications.
            if joined.epoch != self.epoch:
                self.find("C5", "dishonest", f"recovered from epoch {self.epoch} to {joined.epoch}")
            self.recovered = True
            return
        if not joined.was_recovering and (joined.epoch, joined.offset) != (self.epoch, self.at):
            self.find("C5", "dishonest", f"came back at {joined.offset} without a word, was at {self.at}")
        if joined.epoch == self.epoch and joined.offset < self.at:
            self.find("C2", "disordered", f"was let in at {joined.offset}, had been at {self.at}")
        begin = self.at if joined.epoch == self.epoch else 0
        self.untold.update(range(begin + 1, joined.offset + 1))
        self.epoch, self.at, self.recovered = joined.epoch, joined.offset, False

    def saw(self, saw: Saw) -> None:
        if self.revoked_at is not None and saw.at > self.revoked_at:
            late = saw.at - self.revoked_at
            self.find("C6", "revoked", f"saw {saw.offset} {late:.3f} s after it might no more")
        if self.ended or not self.open:
            self.find("C6", "revoked", f"saw {saw.offset} while it followed no more")
            return
        entry = self.log.get(saw.offset)
        if entry is None or entry.id != saw.id:
            has = f"has {entry.id}" if entry else "ends before"
            self.find("C4", "undone", f"saw {saw.id} at {saw.offset}, where the log {has}")
        if saw.offset in self.seen:
            self.find("C3", "doubled", f"saw {saw.offset} again")
            return
        if saw.offset <= self.at:
            self.find("C2", "disordered", f"saw {saw.offset} after {self.at}")
        elif saw.offset > self.at + 1:
            rule, kind = ("C5", "dishonest") if self.recovered else ("C2", "disordered")
            self.find(rule, kind, f"saw {saw.offset} right after {self.at}")
            self.missing.update(range(self.at + 1, saw.offset))
        self.seen.add(saw.offset)
        self.missing.discard(saw.offset)
        self.at = max(self.at, saw.offset)
        self.recovered = False

    def snapshot(self, snapshot: Snapshot) -> None:
        if snapshot.epoch == self.epoch:
            self.untold = {offset for offset in self.untold if offset > snapshot.offset}

    def left(self, left: Left) -> None:
        self.ended, self.open, self.sent_away = True, False, left.code

    def end(self) -> None:
        """C1, once nothing more can come."""
        if self.sent_away is not None and self.revoked_at is None:
            self.find("C5", "dishonest", f"was sent away ({self.sent_away}) though nothing was revoked")
        top = max(self.log, default=0)
        tail = set(range(self.at + 1, top + 1)) if self.open and self.revoked_at is None else set()
        for offset in sorted(self.missing | tail):
            self.find("C1", "lost", f"never saw {offset}")
        for offset in sorted(self.untold):
            self.find("C1", "lost", f"was told to look again and no snapshot covers {offset}")


def follower_findings(
    who: str, seen: Sequence[Seen], log: Mapping[str, Mapping[int, Committed]]
) -> list[Finding]:
    """C1 to C6 for one follower, on all channels of which the log was read."""
    stays: dict[str, _Stay] = {}
    for event in seen:
        if event.channel not in log:
            continue
        stay = stays.get(event.channel)
        if stay is None:
            stay = stays[event.channel] = _Stay(who, event.channel, log[event.channel])
        match event:
            case Joined():
                stay.joined(event)
            case Saw():
                stay.saw(event)
            case Snapshot():
                stay.snapshot(event)
            case Left():
                stay.left(event)
            case Revoked():
                stay.revoked_at = event.at
    for stay in stays.values():
        stay.end()
    return [finding for stay in stays.values() for finding in stay.findings]


def staleness(history: History) -> float:
    """The longest that a delivery came after the writer's acknowledgement, in seconds; at least 0."""
    acked = {write.marker: write.at for write in history.writes if write.outcome == "committed"}
    times = {
        (entry.channel, entry.offset): acked[entry.marker] for entry in history.log if entry.marker in acked
    }
    late = (
        event.at - times[event.channel, event.offset]
        for seen in history.followers.values()
        for event in seen
        if isinstance(event, Saw) and (event.channel, event.offset) in times
    )
    return max(0.0, max(late, default=0.0))
