"""When to try again: the waits, what Retry-After means, what a status stands for, and the budget."""

from datetime import timedelta
from email.utils import format_datetime

import pytest

from app.adapters.retrying import AFTER_MAX_S, TOKENS_MAX, Budget, Policy, of_status, seconds
from domain.clock import now
from tests.app.outgoing.conftest import Time

POLICY = Policy(within_s=60.0, try_within_s=5.0, wait_s=0.5, wait_max_s=3.0)


def test_the_jitter_is_full_and_its_limit_doubles_up_to_a_limit() -> None:
    assert [POLICY.wait_before(nth, None, 1.0) for nth in (1, 2, 3, 4, 5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    assert [POLICY.wait_before(nth, None, 0.0) for nth in (1, 2, 3, 4, 5)] == [0.0] * 5
    assert POLICY.wait_before(2, None, 0.25) == 0.25


def test_what_retry_after_asks_is_waited_for_in_full_and_they_do_not_all_come_back_at_once() -> None:
    assert [POLICY.wait_before(1, 7.0, chance) for chance in (0.0, 1.0)] == [7.0, 7.5]


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ("0", 0.0), ("7", 7.0), (" 120 ", 120.0), ("9" * 400, AFTER_MAX_S),
        (None, None), ("", None), ("soon", None), ("-3", None), ("1.5", None), ("\u0667", None),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 0.0), ("Fri, 31 Dec 9999 23:59:59 GMT", AFTER_MAX_S),
        ("Fri, 31 Dec 1999 23:59:59 -0000", 0.0), ("Fri, 99 Dec 1999 23:59:59 GMT", None),
    ],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date(said: str | None, means: float | None) -> None:
    assert seconds(said) == means


def test_a_date_to_come_is_as_far_away_as_it_is() -> None:
    found = seconds(format_datetime(now() + timedelta(hours=1), usegmt=False))
    assert found is not None
    assert 0 < found <= 3600


def test_what_a_status_stands_for() -> None:
    answers = [status for status in range(200, 600) if of_status(status) is None]
    assert answers == [status for status in range(200, 500) if status not in (408, 429)]
    again = [status for status in range(400, 600) if (found := of_status(status)) and found.again]
    assert again == [408, 429, 500, 502, 503, 504]
    undone = [status for status in range(400, 600) if (found := of_status(status)) and found.undone]
    assert undone == [429], "what was throttled was not done"


def test_a_budget_lets_a_tenth_be_tried_again_and_a_few_besides(time: Time) -> None:
    budget, retries, calls = Budget(time.clock), 0, 1000
    for _ in range(calls):
        budget.call()
        retries += budget.retry() + budget.retry()
    assert TOKENS_MAX < retries <= TOKENS_MAX + calls / 10


def test_who_calls_rarely_may_try_again_too_and_never_saves_up_more(time: Time) -> None:
    budget = Budget(time.clock)
    while budget.retry():
        pass
    time.at += 9
    assert not budget.retry()
    time.at += 1.01
    assert budget.retry()
    time.at += 10**6
    assert sum(budget.retry() for _ in range(100)) == TOKENS_MAX
