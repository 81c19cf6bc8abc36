"""Metrics of outgoing calls: each is moved by what it is about; the last test says if one was left out."""

import asyncio
import contextlib

import httpx2
import pytest

from app.adapters.breaker import CALLS_MIN
from app.adapters.outgoing import Outgoing
from app.adapters.outgoing_http import judge
from app.adapters.retrying import Policy
from app.metrics import table
from tests.app.reading_metrics import LOOKED_AT, Scraper, not_of_vendors, staff_scraper
from tests.conftest import Served
from tests.factories import Api


@pytest.fixture(scope="module")
async def scrape(api: Api) -> Scraper:
    return await staff_scraper(api)


async def test_the_state_of_a_breaker_is_seen(
    served: Served, scrape: Scraper, monkeypatch: pytest.MonkeyPatch
) -> None:
    outgoing: Outgoing = served.app.state.outgoing
    monkeypatch.setattr(outgoing, "_known", {})  # the others do not see this one in /api/health
    policy = Policy(within_s=1, try_within_s=1)
    breaker = outgoing.dependency("a vendor", policy, lambda error: None).breaker

    async def states() -> list[float]:
        of = [{"dependency": "a vendor", "state": state} for state in ("closed", "open", "half_open")]
        return await scrape.values("breaker_state", *of)

    assert await states() == [1, 0, 0]
    for _ in range(CALLS_MIN):
        place = breaker.admit()
        assert place is not None
        breaker.done(place, False)
    assert await states() == [0, 1, 0]
    monkeypatch.setattr("app.adapters.breaker.OPEN_S", 0.0)
    assert breaker.admit() is not None
    assert await states() == [0, 0, 1]


async def test_calls_of_vendors_are_counted_by_what_became_of_them(scrape: Scraper) -> None:
    """Each in a process's own Outgoing; what is counted is counted for all."""
    vendor = Outgoing().dependency(
        "another vendor", Policy(within_s=1, try_within_s=1, tries=2, wait_s=0.001), judge
    )
    outcomes = ("ok", "failed", "deadline", "rejected", "refused", "given_up")
    of = [{"dependency": "another vendor", "outcome": outcome} for outcome in outcomes]

    async def goes(*errors: Exception) -> None:
        left = list(errors)

        async def do() -> None:
            if left:
                raise left.pop(0)

        with contextlib.suppress(Exception):
            await vendor.call(do, repeatable=True)

    reset = httpx2.ReadError("reset")
    await goes()
    await goes(reset)
    await goes(reset, reset)
    await goes(TimeoutError(), TimeoutError())
    await goes(ValueError("not what it says"))
    given_up = asyncio.create_task(vendor.call(asyncio.Event().wait, repeatable=True))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.wait({given_up})
    assert await scrape.values("outgoing_calls_total", *of) == [2, 1, 1, 1, 0, 1]
    assert await scrape.values("outgoing_retries_total", *of) == [1, 1, 1, 0, 0, 0]
    tries = await scrape.value("outgoing_try_seconds_count", dependency="another vendor")
    assert tries == vendor.counts.tries == 9

    vendor.breaker.admit = lambda: None  # type: ignore[method-assign]
    await goes()
    assert await scrape.values("outgoing_calls_total", *of) == [2, 1, 1, 1, 1, 1]
    assert await scrape.value("outgoing_try_seconds_count", dependency="another vendor") == tries


def test_every_metric_of_vendors_was_moved_by_a_test() -> None:
    of_vendors = table.names() - not_of_vendors(table.names())
    assert len(of_vendors) >= 4
    assert of_vendors <= LOOKED_AT
