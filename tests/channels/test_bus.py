"""The bus: what others say on Redis may be garbled, doubled or missing; the log is not."""

import asyncio
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator

import pytest
import redis.asyncio

from app.config import Config
from channels.bus import Bus
from channels.bus_format import Listener
from channels.live import Live
from channels.tasks import end
from domain.streams import Entry, Head
from tests.channels.conftest import Stream
from tests.raw import raw

AT_ONCE = 200
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
    b'{"push":{"channel":1}}',
    b'{"deep":' + b"[" * 100_000,
    b'[{"deep":' + b"[" * 100_000,
)


@pytest.fixture
async def doorbell(config: Config) -> AsyncIterator[redis.asyncio.Redis]:
    async with redis.asyncio.Redis.from_url(config.redis_url or "") as client:
        yield client


async def test_garbage_on_redis_is_passed_over_and_what_follows_is_heard(
    url: str, live: Live, stream: Stream, doorbell: redis.asyncio.Redis
) -> None:
    async with raw(url, token=stream.ann.token) as client:
        await client.ask(subscribe={"channel": stream.channel})
        for garbage in GARBAGE:
            await doorbell.publish(f"maycole:{stream.channel}", garbage)
            await doorbell.publish("maycole:tops", garbage)
            await doorbell.publish(f"maycole:node:{live.emulation.node}", garbage)
        await stream.append(2)
        while len(client.pushes) < 2:
            await client.frame()
    assert [push["pub"]["offset"] for push in client.pushes] == [11, 12]
    assert not any("garbage" in str(push) for push in client.pushes)
    assert live.relay.bus.listening, "the reader has survived it"


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


def _hang_up_on_everybody(listener: socket.socket, seen: list[int]) -> None:
    """Reset whoever comes, at once, until the listener is shut down."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        seen.append(1)


async def test_a_redis_that_hangs_up_on_whoever_comes_is_tried_again() -> None:
    listener = Listener(
        on_publication=lambda *what: None,
        on_push=lambda *what: None,
        on_head=lambda head: None,
        on_link=lambda up: None,
    )
    seen: list[int] = []
    with socket.create_server(("127.0.0.1", 0), backlog=AT_ONCE) as redis_port:
        thread = threading.Thread(target=_hang_up_on_everybody, args=(redis_port, seen))
        thread.start()
        bus = Bus(f"redis://:password@127.0.0.1:{redis_port.getsockname()[1]}", listener)
        # Many: the reset may come before the first word, in it, or after it, and each is told otherwise.
        readers = [asyncio.create_task(bus.run_reader()) for _ in range(AT_ONCE)]
        try:
            async with asyncio.timeout(20):
                while len(seen) < 6 * AT_ONCE:
                    # A process that is busy learns of connection and reset in one turn of its loop.
                    time.sleep(0.01)  # noqa: ASYNC251
                    await asyncio.sleep(0)
            assert [reader.exception() for reader in readers if reader.done()] == []
        finally:
            assert not await end(readers)
            await bus.close()
            redis_port.shutdown(socket.SHUT_RDWR)
            await asyncio.to_thread(thread.join, 5)
