"""The pulse alone: hello, pings and pongs, with short times instead of long ones."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from channels import pulse
from channels.protocol import HangUp
from channels.pulse import Pulse


class Client:
    """What a pulse says to its client, and how it ends it."""

    def __init__(self) -> None:
        self.said: list[bytes] = []
        self.closed_with: list[int] = []
        self.busy = False
        self.pulse = Pulse(lambda: self.said.append(b"ping"), self.closed_with.append, lambda: self.busy)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HELLO_WITHIN_S", "PING_EVERY_S", "PONG_WITHIN_S"):
        monkeypatch.setattr(pulse, name, 0.02)


async def _until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def test_who_says_nothing_is_stale_and_may_not_simply_come_back() -> None:
    client = Client()
    await _until(lambda: client.closed_with)
    assert client.closed_with == [3502]


async def test_who_said_hello_in_time_may_come_back_when_we_are_slow() -> None:
    client = Client()
    client.pulse.hello()
    await _until(lambda: client.closed_with)
    assert client.closed_with == [3004]


async def test_who_answers_is_asked_again_and_who_does_not_is_closed() -> None:
    client = Client()
    client.pulse.begin()
    for count in (1, 2, 3):
        await _until(lambda count=count: len(client.said) == count)
        assert not client.closed_with
        client.pulse.pong()
    await _until(lambda: client.closed_with)
    assert client.closed_with == [3012]


async def test_a_pong_that_answers_nothing_breaks_the_protocol() -> None:
    client = Client()
    client.pulse.begin()
    with pytest.raises(HangUp):
        client.pulse.pong()
    await _until(lambda: client.said)
    client.pulse.pong()
    with pytest.raises(HangUp):
        client.pulse.pong()
    client.pulse.stop()


async def test_a_pong_that_waits_behind_our_own_work_is_waited_for() -> None:
    client = Client()
    client.busy = True
    client.pulse.begin()
    await _until(lambda: client.said)
    await asyncio.sleep(0.1)
    assert not client.closed_with
    client.busy = False
    await _until(lambda: client.closed_with)
    assert client.closed_with == [3012]


async def test_saying_hello_again_and_again_gains_no_time() -> None:
    client = Client()
    async with asyncio.timeout(10):
        while not client.closed_with:
            client.pulse.hello()
            await asyncio.sleep(0.002)
    assert client.closed_with == [3004]
