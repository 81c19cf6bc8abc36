"""Active users: whoever was seen within the last minutes counts once, whichever process saw them."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from itertools import count

import pytest

from app.config import Config
from channels import activity as module
from channels.activity import MINUTE_S, WINDOW_MIN, Activity
from channels.bus import GONE, Bus
from channels.bus_format import Listener

YEARS = count(int(time.time()) + 3 * 365 * 86400, 365 * 86400)


class Clock:
    """A time of each test's own, in which nobody else was seen."""

    def __init__(self) -> None:
        self.at = float(next(YEARS))

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@contextlib.asynccontextmanager
async def process(redis_url: str, clock: Clock) -> AsyncIterator[Activity]:
    deaf = Listener(on_publication=_ignore, on_push=_ignore, on_head=_ignore, on_link=_ignore)
    bus = Bus(redis_url, deaf)
    try:
        yield Activity(bus, clock)
    finally:
        await bus.close()


def _ignore(*heard: object) -> None:
    """Nobody listens."""


@pytest.fixture
async def here(config: Config, clock: Clock) -> AsyncIterator[Activity]:
    async with process(config.redis_url or "", clock) as made:
        yield made


async def test_a_user_whom_several_processes_saw_counts_once(
    here: Activity, config: Config, clock: Clock
) -> None:
    async with process(config.redis_url or "", clock) as there:
        for user_id in ("ann", "bob", "ann"):
            here.saw(user_id)
        there.saw("ann")
        assert await there.count() == 1, "the other one has said nothing yet"
        assert await here.count() == 2
        there.saw("cyd")
        assert await there.count() == await here.count() == 3


async def test_who_was_not_seen_for_longer_is_not_active(here: Activity, clock: Clock) -> None:
    here.saw("ann")
    assert await here.count() == 1
    clock.at += MINUTE_S
    here.saw("bob")
    assert await here.count() == 2
    clock.at += MINUTE_S * (WINDOW_MIN - 1)
    assert await here.count() == 2
    clock.at += MINUTE_S
    assert await here.count() == 1
    clock.at += MINUTE_S
    assert await here.count() == 0


async def test_who_stays_connected_is_active_without_doing_anything(
    here: Activity, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SAY_EVERY_S", 0.01)
    running = asyncio.create_task(here.run({"ann"}))
    try:
        for _ in range(WINDOW_MIN + 2):
            clock.at += MINUTE_S
            await asyncio.sleep(0.05)
        async with asyncio.timeout(20):
            while await here.count() != 1:
                clock.at += MINUTE_S
                await asyncio.sleep(0.05)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_while_redis_is_away_nothing_is_known_and_memory_has_an_end(
    config: Config, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "NOTED_MAX", 3)
    async with process("redis://127.0.0.1:1", clock) as lonely:
        for minute in range(3 * WINDOW_MIN):
            for nth in range(10):
                lonely.saw(f"user {minute} {nth}")
            with pytest.raises(GONE):
                await lonely.count()
            clock.at += MINUTE_S
        kept = lonely._unsaid
        assert kept
        assert sum(map(len, kept.values())) <= 3 * (WINDOW_MIN + 1)


async def test_what_could_not_be_said_is_said_once_redis_is_back(
    here: Activity, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(*given: object) -> None:
        raise ConnectionError("away")

    here.saw("ann")
    with monkeypatch.context() as patch:
        patch.setattr(here, "_add", lost)
        with pytest.raises(ConnectionError):
            await here.count()
        here.saw("bob")
    clock.at += MINUTE_S
    assert await here.count() == 2


async def test_ten_thousand_users_are_counted_to_a_few_percent(here: Activity) -> None:
    for nth in range(10_000):
        here.saw(f"user_{nth}")
    assert abs(await here.count() - 10_000) < 300
