"""The bus: what others say on Redis may be garbled, doubled or missing; the log is not."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis.asyncio

from app.config import Config
from channels.bus import Bus, Listener
from channels.live import Live
from domain.streams import Entry, Head
from tests.channels.conftest import Stream
from tests.raw import raw

GARBAGE = (
    b"",
    b"\xff\xfe",
    b"epoch x\n{}",
    b"epoch -1\n{}",
    b"no newline",
    b"[[[",
    b'[{"channel":1}]',
    b"{}",
    b"null",
)


@pytest.fixture
async def doorbell(config: Config) -> AsyncIterator[redis.asyncio.Redis]:
    async with redis.asyncio.Redis.from_url(config.redis_url or "") as client:
        yield client


async def test_garbage_on_redis_is_passed_over_and_what_follows_is_heard(
    url: str, stream: Stream, doorbell: redis.asyncio.Redis
) -> None:
    async with raw(url, token=stream.ann.token) as client:
        await client.ask(subscribe={"channel": stream.channel})
        for garbage in GARBAGE:
            await doorbell.publish(f"maycole:{stream.channel}", garbage)
            await doorbell.publish("maycole:tops", garbage)
        await stream.append(2)
        while len(client.pushes) < 2:
            await client.frame()
    assert [push["pub"]["offset"] for push in client.pushes] == [11, 12]
    assert not any("garbage" in str(push) for push in client.pushes)


async def test_a_forged_entry_ahead_of_its_time_is_not_shown(
    url: str, stream: Stream, doorbell: redis.asyncio.Redis, live: Live
) -> None:
    async with raw(url, token=stream.ann.token) as client:
        await client.ask(subscribe={"channel": stream.channel})
        forged = (
            f'{stream.epoch} 99\n{{"push":{{"channel":"{stream.channel}","pub":{{"data":1,"offset":99}}}}}}'
        )
        await doorbell.publish(f"maycole:{stream.channel}", forged)
        await stream.append(1)
        while not client.pushes:
            await client.frame()
    assert [push["pub"]["offset"] for push in client.pushes] == [11]


async def test_what_is_announced_is_heard_and_the_link_is_said_to_be_up_first(config: Config) -> None:
    heard: list[Head] = []
    up: list[bool] = []
    listener = Listener(
        on_publication=lambda *what: None, on_push=lambda *what: None, on_head=heard.append, on_link=up.append
    )
    bus = Bus(config.redis_url or "", listener)
    tasks = [asyncio.create_task(bus.run_reader()), asyncio.create_task(bus.run_publisher())]
    try:
        async with asyncio.timeout(10):
            while not bus.listening:
                await asyncio.sleep(0.01)
            bus.announce_heads([Head("channel", "epoch", 1)])
            while Head("channel", "epoch", 1) not in heard:
                await asyncio.sleep(0.01)
        assert (up, bus.dropped, bus.speaking) == ([True], 0, True)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await bus.close()


async def test_what_does_not_fit_the_outbox_is_given_up_and_counted() -> None:
    listener = Listener(
        on_publication=lambda *what: None,
        on_push=lambda *what: None,
        on_head=lambda head: None,
        on_link=lambda up: None,
    )
    bus = Bus("redis://127.0.0.1:1", listener)
    entry = Entry("channel", "epoch", 1, "evt", "test", "{}")
    bus.announce([entry] * 10_005)
    assert bus.dropped == 5
    await bus.close()
