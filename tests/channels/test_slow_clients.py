"""A client that does not keep up harms nobody, loses nothing, and is closed only when it stays away."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import websockets

from channels.live import Live
from tests.channels.conftest import Stream
from tests.raw import Raw, raw

ENTRIES = 400
BALLAST_BYTES = 20_000


@contextlib.asynccontextmanager
async def _stalled(url: str, stream: Stream) -> AsyncIterator[Raw]:
    """A client that follows, and whose socket takes next to nothing while nobody reads from it."""
    where = urlsplit(url)
    plug = socket.socket()
    plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plug.connect((where.hostname, where.port))
    plug.setblocking(False)
    address = f"ws://{where.netloc}/connection/websocket"
    async with websockets.connect(
        address, sock=plug, max_queue=1, ping_interval=None, close_timeout=1
    ) as connection:
        client = Raw(connection)
        assert "connect" in await client.ask(connect={"token": stream.ann.token})
        assert "subscribe" in await client.ask(subscribe={"channel": stream.channel})
        yield client


async def _flood(stream: Stream) -> None:
    for _ in range(ENTRIES // 10):
        await stream.append(10, size=BALLAST_BYTES)


async def _read_up_to(client: Raw, offset: int) -> list[int]:
    while not client.pushes or client.pushes[-1]["pub"]["offset"] < offset:
        await client.frame()
    return [push["pub"]["offset"] for push in client.pushes]


async def test_one_that_stalls_is_skipped_and_catches_up_from_the_log_at_its_own_position(
    url: str, stream: Stream
) -> None:
    async with _stalled(url, stream) as slow, raw(url, token=stream.ann.token) as fast:
        await fast.ask(subscribe={"channel": stream.channel})
        await _flood(stream)
        expected = list(range(11, 11 + ENTRIES))
        assert await _read_up_to(fast, stream.top) == expected, "the fast one is not held up"
        assert await _read_up_to(slow, stream.top) == expected, "the slow one misses nothing"
        await stream.append(1)
        assert await _read_up_to(slow, stream.top) == [*expected, stream.top], "and is live again"


async def test_one_that_stays_away_is_closed_and_its_buffer_given_back(
    url: str, live: Live, stream: Stream
) -> None:
    async with _stalled(url, stream) as slow:
        [connection] = [each for each in live.connections if stream.channel in each.subscriptions]
        await _flood(stream)
        async with asyncio.timeout(30):
            while connection in live.connections:
                await asyncio.sleep(0.1)
        with contextlib.suppress(websockets.ConnectionClosed):
            await _read_up_to(slow, stream.top)
        got = [push["pub"]["offset"] for push in slow.pushes]
    assert got == list(range(11, 11 + len(got))), "what it did get was in order"
    assert got[-1:] != [stream.top]

    async with raw(url, token=stream.ann.token) as again:
        position = {"recover": True, "epoch": stream.epoch, "offset": stream.top - 5}
        answer = (await again.ask(subscribe={"channel": stream.channel, **position}))["subscribe"]
        assert len(answer["publications"]) == 5
