"""A call of a dependency: tries, waits, deadlines, and what the breaker is told."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx2
import pytest

from app.adapters.breaker import CALLS_MIN, OPEN_S, PROBES
from app.adapters.outgoing import Dependency, LeftAlone, Nature, Outgoing
from app.adapters.outgoing_http import judge
from app.adapters.retrying import TOKENS_MAX, Policy
from domain import deadline
from domain.health import State
from tests.app.outgoing.conftest import Time

POLICY = Policy(within_s=20.0, try_within_s=5.0, tries=4, wait_s=1.0, wait_max_s=3.0)
Do = Callable[[], Awaitable[str]]


@pytest.fixture
def dependency(outgoing: Outgoing) -> Dependency:
    return outgoing.dependency("some.vendor", POLICY, judge)


def fails(*errors: Exception) -> Do:
    """Fails so, one after another, then answers."""
    left = list(errors)

    async def do() -> str:
        if left:
            raise left.pop(0)
        return "well"

    return do


def status(code: int, **headers: str) -> httpx2.HTTPStatusError:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = httpx2.Response(code, headers=named, request=httpx2.Request("GET", "http://vendor"))
    return httpx2.HTTPStatusError("", request=answer.request, response=answer)


async def hang() -> str:
    await asyncio.Event().wait()
    return "never"


async def open_it(dependency: Dependency) -> None:
    while dependency.breaker.state == "closed":
        with pytest.raises(httpx2.HTTPStatusError):
            await dependency.call(fails(status(501)), repeatable=True)


async def test_what_may_help_is_tried_again_after_waits_that_double(
    dependency: Dependency, time: Time
) -> None:
    do = fails(httpx2.ReadError("reset"), status(503), TimeoutError())
    assert await dependency.call(do, repeatable=True) == "well"
    assert time.slept == [1.0, 2.0, 3.0]
    assert (dependency.counts.calls, dependency.counts.tries) == (1, 4)
    assert (dependency.counts.retries, dependency.counts.failures) == (3, 3)


async def test_in_the_end_it_fails_as_the_last_try_did(dependency: Dependency) -> None:
    errors = [status(500), status(502), status(504), httpx2.RemoteProtocolError("half"), status(500)]
    with pytest.raises(httpx2.RemoteProtocolError):
        await dependency.call(fails(*errors), repeatable=True)
    assert dependency.counts.tries == POLICY.tries


@pytest.mark.parametrize(
    "error", [status(400), status(404), status(409), ValueError("ours"), httpx2.DecodingError("")]
)
async def test_a_refusal_is_an_answer_and_no_failure(dependency: Dependency, error: Exception) -> None:
    with pytest.raises(type(error)):
        await dependency.call(fails(error), repeatable=True)
    assert (dependency.counts.tries, dependency.counts.failures) == (1, 0)
    assert (dependency.breaker.calls, dependency.breaker.failures) == (1, 0)


@pytest.mark.parametrize(
    "error", [status(500), status(503), httpx2.ReadError(""), httpx2.ReadTimeout(""), TimeoutError()]
)
async def test_what_may_have_been_done_is_not_done_twice(dependency: Dependency, error: Exception) -> None:
    with pytest.raises(type(error)):
        await dependency.call(fails(error), repeatable=False)
    assert dependency.counts.tries == 1


@pytest.mark.parametrize("error", [status(429), httpx2.ConnectError(""), httpx2.ConnectTimeout("")])
async def test_what_was_not_done_for_certain_may_be_tried_again(
    dependency: Dependency, error: Exception
) -> None:
    assert await dependency.call(fails(error), repeatable=False) == "well"


async def test_retry_after_is_waited_for(dependency: Dependency, time: Time) -> None:
    assert await dependency.call(fails(status(429, retry_after="7")), repeatable=True) == "well"
    assert time.slept == [8.0]


async def test_who_asks_for_more_than_is_left_is_given_up_at_once(dependency: Dependency, time: Time) -> None:
    with pytest.raises(httpx2.HTTPStatusError) as refused:
        await dependency.call(fails(status(503, retry_after="20")), repeatable=True)
    assert (time.slept, dependency.counts.tries) == ([], 1)
    assert dependency.retry_after_s(refused.value) == 20, "and the caller is told"


async def test_no_wait_and_no_try_goes_past_the_callers_deadline(dependency: Dependency, time: Time) -> None:
    with deadline.within(3.0), pytest.raises(httpx2.HTTPStatusError):
        await dependency.call(fails(status(503, retry_after="3")), repeatable=True)
    assert (time.slept, dependency.counts.tries) == ([], 1)
    with deadline.within(0.05), pytest.raises(TimeoutError):
        await dependency.call(hang, repeatable=True)
    assert dependency.counts.tries == 2, "one more, and none after it"


def test_a_deadline_inside_another_is_never_later() -> None:
    assert deadline.left_s() is None
    with deadline.within(5.0):
        with deadline.within(60.0):
            assert 0 < (deadline.left_s() or 0) <= 5
        with deadline.within(None):
            assert deadline.left_s() is None
        assert deadline.left_s() is not None
    assert deadline.left_s() is None


async def test_a_vendor_that_was_not_given_its_time_has_not_failed(dependency: Dependency) -> None:
    for _ in range(CALLS_MIN):
        with deadline.within(0.001), pytest.raises(TimeoutError):
            await dependency.call(hang, repeatable=True)
    assert (dependency.breaker.state, dependency.breaker.calls, dependency.counts.failures) == (
        "closed",
        0,
        0,
    )


async def test_who_hangs_up_ends_the_try_and_the_vendor_has_not_failed(dependency: Dependency) -> None:
    for _ in range(CALLS_MIN):
        call = asyncio.create_task(dependency.call(hang, repeatable=True))
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert (dependency.breaker.state, dependency.breaker.calls, dependency.counts.failures) == (
        "closed",
        0,
        0,
    )


async def test_trying_again_is_no_storm(time: Time) -> None:
    """A vendor that fails a little less than half of the time, so that the breaker stays closed."""
    still = Nature(time.clock, time.sleep, lambda: 0.0)  # time brings tokens, too
    dependency = Outgoing(still).dependency("ailing", POLICY, judge)
    calls = 1000
    for nth in range(calls):
        errors = [status(503)] * (1 if nth % 5 < 2 else 0)
        try:
            await dependency.call(fails(*errors), repeatable=True)
        except httpx2.HTTPStatusError:
            assert nth % 5 < 2
    assert dependency.breaker.state == "closed"
    assert dependency.counts.tries <= calls * 1.1 + TOKENS_MAX


async def test_whoever_keeps_failing_is_left_alone_and_callers_are_told_for_how_long(
    dependency: Dependency, time: Time
) -> None:
    await open_it(dependency)
    assert dependency.counts.tries == CALLS_MIN
    with pytest.raises(LeftAlone) as refused:
        await dependency.call(hang, repeatable=True)
    assert refused.value.problem == "some_vendor_unavailable"
    assert refused.value.details == {"retryAfter": OPEN_S}
    assert (dependency.counts.tries, dependency.counts.refused) == (CALLS_MIN, 1)
    time.at += OPEN_S
    for _ in range(PROBES):
        assert await dependency.call(fails(), repeatable=True) == "well"
    assert dependency.breaker.state == "closed"


async def test_probes_that_hang_wedge_nothing(outgoing: Outgoing, time: Time) -> None:
    brief = Policy(within_s=5.0, try_within_s=0.05, tries=1)
    dependency = outgoing.dependency("hanging", brief, judge)
    await open_it(dependency)
    time.at += OPEN_S
    probes = [asyncio.create_task(dependency.call(hang, repeatable=True)) for _ in range(PROBES)]
    await asyncio.sleep(0)
    with pytest.raises(LeftAlone):
        await dependency.call(hang, repeatable=True)
    ends = await asyncio.gather(*probes, return_exceptions=True)
    assert [type(end) for end in ends] == [TimeoutError] * PROBES
    assert dependency.breaker.state == "open"
    time.at += OPEN_S
    for _ in range(PROBES):
        given_up = asyncio.create_task(dependency.call(hang, repeatable=True))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.wait({given_up})
    for _ in range(PROBES):
        await dependency.call(fails(), repeatable=True)
    assert dependency.breaker.state == "closed"


async def test_all_who_listen_hear_of_every_change_and_the_log_has_it(
    outgoing: Outgoing, dependency: Dependency, time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[tuple[State, State]] = []
    outgoing.on_change = lambda standing, before: heard.append((before, standing.state))
    await open_it(dependency)
    time.at += OPEN_S
    for _ in range(PROBES):
        await dependency.call(fails(), repeatable=True)
    assert heard == [("closed", "open"), ("open", "half_open"), ("half_open", "closed")]
    said = [record.getMessage() for record in caplog.records if record.name == "maycole.outgoing"]
    assert said[0] == "some.vendor: open, was closed; 20 of the newest 20 tries failed"
    assert len(said) == 3


async def test_how_all_fare_is_told_by_name(outgoing: Outgoing, dependency: Dependency) -> None:
    outgoing.dependency("another", POLICY, judge)
    await open_it(dependency)
    another, some = outgoing.standings()
    assert (another.name, another.ok, another.counts.calls) == ("another", True, 0)
    assert (some.name, some.ok, some.newest_failed) == ("some.vendor", False, CALLS_MIN)
    assert "left alone since" in some.detail
    assert "20 of 20 failed" in some.detail
