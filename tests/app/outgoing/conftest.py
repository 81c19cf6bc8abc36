"""What the tests of outgoing calls share: a vendor that fails, and a time that passes when it is told to."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.adapters.outgoing import Nature, Outgoing
from tests.doubles.vendor import Vendor, vendor


class Time:
    """Nobody waits in it: whoever sleeps moves it on. `slept` lists the waits."""

    def __init__(self) -> None:
        self.at = 1000.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += seconds
        await asyncio.sleep(0)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def outgoing(time: Time) -> Outgoing:
    """Its dependencies live in that time."""
    return Outgoing(Nature(time.clock, time.sleep, lambda: 1.0))


@pytest.fixture
async def failing() -> AsyncIterator[Vendor]:
    async with vendor() as made:
        yield made
