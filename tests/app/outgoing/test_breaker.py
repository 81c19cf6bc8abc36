"""The breaker: when it opens, when it closes, and that nothing can wedge it."""

import pytest

from app.adapters.breaker import CALLS_MIN, OPEN_S, PROBES, WINDOW, WINDOW_S, Breaker
from domain.health import State
from tests.app.outgoing.conftest import Time


@pytest.fixture
def changes() -> list[State]:
    return []


@pytest.fixture
def breaker(time: Time, changes: list[State]) -> Breaker:
    return Breaker(time.clock, changes.append)


def admitted(breaker: Breaker) -> int:
    place = breaker.admit()
    assert place is not None
    return place


def went(breaker: Breaker, *outcomes: bool | None) -> None:
    for well in outcomes:
        breaker.done(admitted(breaker), well)


def opened(breaker: Breaker) -> Breaker:
    went(breaker, *[False] * CALLS_MIN)
    assert breaker.state == "open"
    return breaker


def test_it_opens_at_half_of_twenty_and_lets_nobody_through(breaker: Breaker) -> None:
    went(breaker, *[True, False] * (CALLS_MIN // 2 - 1), True)
    assert breaker.state == "closed", "fewer calls than that prove nothing"
    went(breaker, False)
    assert breaker.state == "open"
    assert breaker.admit() is None


def test_it_stays_closed_while_fewer_than_half_fail(breaker: Breaker) -> None:
    went(breaker, *[True, False, False, True, True] * WINDOW)
    assert breaker.state == "closed"


def test_a_success_never_opens_it(breaker: Breaker) -> None:
    went(breaker, *[False] * (CALLS_MIN - 1), True)
    assert breaker.state == "closed"


def test_however_well_it_went_for_long_it_opens_when_half_of_the_newest_fail(breaker: Breaker) -> None:
    went(breaker, *[True] * (10 * WINDOW), *[False] * (WINDOW // 2))
    assert breaker.state == "open"


def test_failures_of_long_ago_are_forgotten(breaker: Breaker, time: Time) -> None:
    went(breaker, *[False] * (CALLS_MIN - 1))
    time.at += WINDOW_S + 1
    went(breaker, False)
    assert (breaker.state, breaker.calls) == ("closed", 1)


def test_after_its_time_three_are_let_through_and_all_good_closes_it(
    breaker: Breaker, time: Time, changes: list[State]
) -> None:
    opened(breaker)
    time.at += OPEN_S - 0.1
    assert breaker.admit() is None
    time.at += 0.1
    places = [admitted(breaker) for _ in range(PROBES)]
    assert breaker.admit() is None, "three, and no more"
    for place in places:
        breaker.done(place, True)
    assert (breaker.state, breaker.failures) == ("closed", 0)
    assert changes == ["closed", "open", "half_open"]


def test_one_bad_probe_opens_it_again_for_the_whole_time(breaker: Breaker, time: Time) -> None:
    opened(breaker)
    time.at += OPEN_S
    went(breaker, True, True, False)
    assert breaker.state == "open"
    assert breaker.opens_in_s == OPEN_S


def test_what_began_before_it_opened_says_nothing_about_the_probes(breaker: Breaker, time: Time) -> None:
    early = [admitted(breaker) for _ in range(2 * PROBES)]
    opened(breaker)
    time.at += OPEN_S
    probe = admitted(breaker)
    for place in early:
        breaker.done(place, False)
    assert breaker.state == "half_open"
    breaker.done(probe, True)
    went(breaker, *[True] * (PROBES - 1))
    assert breaker.state == "closed"
    breaker.done(early[0], False)
    assert breaker.failures == 0


def test_a_probe_that_was_given_up_makes_room_for_another(breaker: Breaker, time: Time) -> None:
    opened(breaker)
    time.at += OPEN_S
    went(breaker, *[None] * (10 * PROBES))
    assert breaker.state == "half_open"
    went(breaker, *[True] * PROBES)
    assert breaker.state == "closed"


def test_calls_that_were_given_up_are_no_failures(breaker: Breaker) -> None:
    went(breaker, *[None] * (10 * WINDOW))
    assert (breaker.state, breaker.calls) == ("closed", 0)
