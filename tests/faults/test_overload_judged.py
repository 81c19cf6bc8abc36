"""What `overload` makes of what it measured: each promise that is broken is found, and no other."""

import math
from typing import Any

import pytest

from tests.faults.rush import REFUSED
from tests.faults.scenarios.overload import (
    GOODPUT_MIN,
    RECOVERED_WITHIN_S,
    WAITED_MAX_S,
    Measured,
    _late,
)

Said = dict[str, Any]


def said(answers: int, seconds: float = 1.0, *, refused: int = 0, **more: Any) -> Said:
    counts = {"200": answers} | ({f"503 {REFUSED[0]}": refused} if refused else {})
    return {"counts": counts, "seconds": seconds, "times": [0.1] * answers, "slowest_s": 1.0, **more}


def rush(answers: int, **more: Any) -> Said:
    return said(answers, 10.0, refused=answers, **({"drained_s": 0.5} | more))


def test_nothing_is_found_where_all_is_as_promised() -> None:
    found = Measured.of(said(100), rush(700), [said(100)] * 4)
    assert found.goodput == 0.7
    assert found.recovered_s == 1.5, "what was asked last is answered, and a window passes"
    assert _late(found) == []


@pytest.mark.parametrize(
    ("during", "after", "what"),
    [
        (rush(10), [said(100)] * 4, "goodput"),
        (rush(700, slowest_s=WAITED_MAX_S + 1), [said(100)] * 4, "waited"),
        (rush(700, drained_s=RECOVERED_WITHIN_S), [said(100)] * 4, "recover"),
        (rush(700), [said(10)] * 5 + [said(100)] * 7, "recover"),
        (rush(700), [said(100, refused=1)] * 12, "recover"),
    ],
    ids=["few are answered", "somebody waits", "a line stays", "it stays slow", "it goes on to refuse"],
)
def test_each_broken_promise_is_found(during: Said, after: list[Said], what: str) -> None:
    [found] = _late(Measured.of(said(100), during, after))
    assert what in found


def test_who_never_recovers_is_found() -> None:
    found = Measured.of(said(100), rush(700), [said(100, refused=3)] * 4)
    assert math.isinf(found.recovered_s)
    assert len(_late(found)) == 1


@pytest.mark.parametrize(("before", "after"), [(100, 30), (30, 100)])
def test_a_machine_that_is_slower_before_or_after_is_held_to_what_it_could_do_then(
    before: int, after: int
) -> None:
    found = Measured.of(said(before), rush(10 * 30), [said(after)] * 4)
    assert found.goodput == 1.0
    assert _late(found) == []


def test_the_bar_for_goodput_is_between_what_is_usual_and_what_there_is_without_refusals() -> None:
    just = Measured.of(said(100), rush(1000), [said(100)] * 2)
    for goodput, count in ((GOODPUT_MIN, 0), (GOODPUT_MIN - 0.01, 1)):
        changed = {name: getattr(just, name) for name in Measured.__dataclass_fields__} | {"goodput": goodput}
        assert len(_late(Measured(**changed))) == count
    assert f"goodput 1.00 (bar {GOODPUT_MIN})" in just.notes()[0]
