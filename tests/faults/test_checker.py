"""The checker finds each violation in a made-up history, and nothing in a clean one."""

import pytest

from tests.faults.checker import KINDS, check
from tests.faults.history import Books, Committed, History, Joined, Left, Revoked, Saw, Seen, Snapshot, Write

C = "inventory:team_1"


def log(top: int, channel: str = C) -> list[Committed]:
    return [Committed(channel, "e", offset, f"evt_{offset}", f"m{offset}") for offset in range(1, top + 1)]


def joined(offset: int, *, recovering: bool = False, recovered: bool = False, epoch: str = "e") -> Joined:
    return Joined(C, epoch, offset, recovering, recovered)


def saw(*offsets: int, at: float = 0.0) -> list[Seen]:
    return [Saw(C, offset, f"evt_{offset}", at) for offset in offsets]


CLEAN: dict[str, list[Seen]] = {
    "from the beginning": [joined(0), *saw(1, 2, 3, 4, 5)],
    "from the middle": [joined(3), *saw(4, 5)],
    "recovered": [joined(0), *saw(1, 2), joined(2, recovering=True, recovered=True), *saw(3, 4, 5)],
    "recovered, told the head": [
        joined(0), *saw(1, 2), joined(5, recovering=True, recovered=True), *saw(3, 4, 5),
    ],
    "looked again": [joined(0), *saw(1), joined(4, recovering=True), Snapshot(C, "e", 4), *saw(5)],
    "looked again, later than it saw more": [
        joined(0), *saw(1), joined(4, recovering=True), *saw(5), Snapshot(C, "e", 5),
    ],
    "nothing was missed": [joined(0), *saw(1, 2, 3), joined(3, recovering=True), *saw(4, 5)],
    "revoked": [joined(0), *saw(1, 2, at=1.0), Left(C, 2000), Revoked(C, 2.0)],
    "revoked, and let in again": [joined(0), *saw(1), Left(C, 2000), Revoked(C, 2.0), joined(5)],
    "another channel, of which nothing was read": [
        Joined("user:1", "e", 0, was_recovering=False, recovered=False), Saw("user:1", 7, "evt_7"),
    ],
}  # fmt: skip

BROKEN: dict[str, tuple[str, str, list[Seen]]] = {
    "misses the last": ("C1", "lost", [joined(0), *saw(1, 2, 3, 4)]),
    "misses one in between": ("C2", "disordered", [joined(0), *saw(1, 2, 4, 5)]),
    "and that one is lost": ("C1", "lost", [joined(0), *saw(1, 2, 4, 5)]),
    "the first after joining": ("C2", "disordered", [joined(2), *saw(4, 5)]),
    "never looks again": ("C1", "lost", [joined(0), *saw(1), joined(4, recovering=True), *saw(5)]),
    "looks at an older list": (
        "C1", "lost", [joined(0), *saw(1), joined(4, recovering=True), Snapshot(C, "e", 3), *saw(5)],
    ),
    "looked before it was told": (
        "C1", "lost", [joined(0), *saw(1), Snapshot(C, "e", 4), joined(4, recovering=True), *saw(5)],
    ),
    "the same again": ("C3", "doubled", [joined(0), *saw(1, 2, 2, 3, 4, 5)]),
    "all again after it came back": (
        "C3", "doubled",
        [joined(0), *saw(1, 2), joined(2, recovering=True, recovered=True), *saw(2, 3, 4, 5)],
    ),
    "the wrong way round": ("C2", "disordered", [joined(0), *saw(1, 3, 2, 4, 5)]),
    "from before it joined": ("C2", "disordered", [joined(3), *saw(3, 4, 5)]),
    "what was undone": ("C4", "undone", [joined(4), Saw(C, 5, "evt_other")]),
    "what is beyond the log": ("C4", "undone", [joined(5), *saw(6)]),
    "recovered, but not all": (
        "C5", "dishonest", [joined(0), *saw(1), joined(1, recovering=True, recovered=True), *saw(3, 4, 5)],
    ),
    "recovered into another stream": (
        "C5", "dishonest", [joined(5, epoch="old"), joined(5, recovering=True, recovered=True)],
    ),
    "comes back without a word": ("C5", "dishonest", [joined(0), *saw(1), joined(5)]),
    "sent away for nothing": ("C5", "dishonest", [joined(0), *saw(1), Left(C, 2000)]),
    "after it might no more": ("C6", "revoked", [joined(0), *saw(1), Revoked(C, 2.0), *saw(2, at=2.1)]),
    "after it was sent away": ("C6", "revoked", [joined(0), *saw(1), Left(C, 2000), *saw(2)]),
    "let in behind where it was": (
        "C2", "disordered", [joined(0), *saw(1, 2, 3), joined(2, recovering=True), *saw(3, 4, 5)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("seen", CLEAN.values(), ids=CLEAN)
def test_a_clean_history_passes(seen: list[Seen]) -> None:
    assert check(History(log(5), followers={"bob": seen})).findings == []


@pytest.mark.parametrize(("rule", "kind", "seen"), BROKEN.values(), ids=BROKEN)
def test_each_violation_by_a_follower_is_found(rule: str, kind: str, seen: list[Seen]) -> None:
    verdict = check(History(log(5), followers={"ann": [joined(5)], "bob": seen}))
    assert (rule, kind) in {(finding.rule, finding.kind) for finding in verdict.findings}
    assert verdict.count(kind) > 0
    assert all("bob" in finding.what for finding in verdict.findings), "and nobody else is blamed"


def test_every_column_of_the_table_can_be_filled() -> None:
    assert {kind for _, kind, _ in BROKEN.values()} == set(KINDS)


def test_a_log_with_a_hole_or_an_offset_twice_is_found() -> None:
    whole = log(5)
    assert check(History(whole)).findings == []
    for broken in ([*whole[:2], *whole[3:]], [*whole, whole[2]]):
        assert [finding.kind for finding in check(History(broken)).findings] == ["disordered"]


@pytest.mark.parametrize(
    ("kind", "write"),
    [
        (None, Write("m2", C, "committed", 2)),
        (None, Write("m2", C, "unknown")),
        (None, Write("m9", C, "unknown")),
        (None, Write("m9", C, "undone")),
        ("lost", Write("m9", C, "committed", 6)),
        ("disordered", Write("m2", C, "committed", 3)),
        ("undone", Write("m2", C, "undone")),
    ],
)
def test_what_writers_were_told_is_held_against_the_log(kind: str | None, write: Write) -> None:
    found = [finding.kind for finding in check(History(log(5), writes=[write])).findings]
    assert found == ([kind] if kind else [])


def test_a_change_that_is_in_the_log_twice_is_found() -> None:
    twice = [*log(5), Committed(C, "e", 6, "evt_6", "m2")]
    [finding] = check(History(twice, writes=[Write("m2", C, "unknown")])).findings
    assert finding.kind == "doubled"


@pytest.mark.parametrize(
    ("name", "value"), [("quantity", 13), ("moved", 11), ("movements", 2), ("entries", 4), ("audits", 2)]
)
def test_a_change_that_is_half_applied_is_found(name: str, value: int) -> None:
    whole = {"quantity": 12, "moved": 12, "movements": 3, "entries": 3, "audits": 3}
    assert check(History([], books=[Books(item_id="item_1", began=10, **whole)])).findings == []
    broken = Books(item_id="item_1", began=10, **{**whole, name: value})
    assert check(History([], books=[broken])).count("lost") > 0


def test_the_latest_delivery_is_measured_from_the_acknowledgement() -> None:
    writes = [Write("m1", C, "committed", 1, at=10.0), Write("m2", C, "committed", 2, at=11.0)]
    seen = [joined(0), *saw(1, at=9.9), *saw(2, at=11.5), *saw(3, at=99.0)]
    assert check(History(log(3), writes=writes, followers={"ann": seen})).staleness_s == 0.5
    assert check(History(log(3), writes=writes)).staleness_s == 0.0
