"""A connection with a wire and a relay of the test's own: interleavings that a network seldom shows."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from typing import Any

import pytest

from channels import json_format, protocol
from channels.connection import Connection
from channels.emulation import Emulation
from channels.encoding import WEBSOCKET_JSON, websocket_payload
from channels.gate import Gate
from channels.live import Live
from channels.protocol import Subscribe, Subscribed
from channels.relay import Relay
from channels.wire import Watcher
from domain import channels, streams
from tests.channels.conftest import Stream
from tests.factories import Api
from tests.nodes import Boundless


class Pipe:
    """A wire that takes everything, until the test says that it does not."""

    def __init__(self) -> None:
        self.watcher: Watcher | None = None
        self.written: list[bytes] = []
        self.closed_with: list[int] = []
        self.on_write: Callable[[], None] = lambda: None

    def write(self, frame: bytes) -> None:
        self.written += websocket_payload(frame).split(b"\n")
        self.on_write()

    def buffered(self) -> int:
        return 0

    def hang_up(self, code: int) -> None:
        self.closed_with.append(code)

    def offsets(self, channel: str) -> list[int]:
        mark = b'{"push":{"channel":"%s","pub":' % channel.encode()
        pushes = [message for message in self.written if message.startswith(mark)]
        return [int(pushed.rpartition(b":")[2].rstrip(b"}")) for pushed in pushes]


@pytest.fixture
async def relay(url: str) -> AsyncIterator[Relay]:
    """A relay without a bus: what is to be known is asked of the log."""
    relay = Relay("redis://127.0.0.1:1", Gate().kind_of)
    running = asyncio.create_task(relay.run())
    yield relay
    running.cancel()


async def _connected(relay: Relay, token: str) -> tuple[Connection, Pipe]:
    pipe = Pipe()
    live = Live(relay, Gate(), None, Emulation(relay), (), Boundless())
    connection = Connection(pipe, WEBSOCKET_JSON, live, {"headers": []})
    await connection.welcome(token, {}, lambda results: b"{}")
    return connection, pipe


async def _until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def _subscribe(connection: Connection, channel: str) -> None:
    await connection.subscribe(Subscribe(channel=channel), _reply, soon=[])


def _reply(result: Subscribed) -> bytes:
    return b"{}"


@pytest.mark.parametrize("wobbles", [0, 1, 5])
async def test_one_that_pauses_again_while_it_catches_up_gets_everything_once_and_in_order(
    relay: Relay, stream: Stream, wobbles: int
) -> None:
    connection, pipe = await _connected(relay, stream.ann.token)
    await _subscribe(connection, stream.channel)
    connection.paused()
    await stream.append(900)
    await _until(lambda: connection.subscriptions[stream.channel].served is not None)
    feed = relay.hub.feeds[stream.channel]
    await _until(lambda: feed.last == stream.top)
    left = [wobbles]

    def wobble() -> None:
        if left[0] and pipe.offsets(stream.channel):
            left[0] -= 1
            connection.paused()
            asyncio.get_running_loop().call_soon(connection.resumed)

    pipe.on_write = wobble
    connection.resumed()
    for _ in range(wobbles):
        connection.paused()
        connection.resumed()
        await asyncio.sleep(0)
    await _until(lambda: pipe.offsets(stream.channel)[-1:] == [stream.top])
    await stream.append(3)
    await _until(lambda: pipe.offsets(stream.channel)[-1:] == [stream.top])

    assert pipe.offsets(stream.channel) == list(range(11, stream.top + 1))
    assert pipe.closed_with == []
    connection.left()


async def test_news_of_rights_that_is_read_while_catching_up_is_acted_on(relay: Relay, api: Api) -> None:
    ann, bob = await api.person("Ann"), await api.person("Bob")
    team = await api.team(ann, member=bob)
    stock = channels.inventory(team)
    connection, pipe = await _connected(relay, bob.token)
    await _subscribe(connection, stock)
    connection.paused()
    await bob.patch("/users/me", {"name": "Robert"})
    own = connection.subscriptions[channels.user(bob.id)]
    await _until(lambda: own.served is not None)
    await ann.delete(f"/teams/{team}/members/{bob.id}")
    connection.resumed()
    await _until(lambda: stock not in connection.subscriptions)
    assert json_format.push(stock, "unsubscribe", protocol.Unsubscribed.of(2000)) in pipe.written
    connection.left()


async def test_a_socket_that_is_gone_leaves_no_follower_no_timer_and_no_feed_behind(
    relay: Relay, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("channels.relay.LINGER_S", 0.01)
    connection, _ = await _connected(relay, stream.ann.token)
    await _subscribe(connection, stream.channel)
    assert relay.hub.feeds
    connection.left()
    connection.left()
    await _until(lambda: not relay.hub.feeds)
    assert connection.subscriptions == {}


async def test_a_feed_that_was_about_to_close_stays_open_while_others_are_being_opened(
    relay: Relay, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("channels.relay.LINGER_S", 0.01)
    may_open = asyncio.Event()
    open_heads = streams.open_heads

    async def slowly(names: Collection[str]) -> list[streams.Head]:
        await may_open.wait()
        return await open_heads(names)

    async with relay.following(stream.channel):
        pass
    monkeypatch.setattr(streams, "open_heads", slowly)
    lingering = relay.hub.feeds[stream.channel]

    async def follow_both() -> bool:
        async with relay.following(stream.channel, channels.audit(stream.ann.personal_team_id)) as feeds:
            return feeds[0] is lingering and relay.hub.feeds.get(stream.channel) is lingering

    following = asyncio.create_task(follow_both())
    async with asyncio.timeout(10):
        while lingering.closing is not None and lingering.closing.when() > asyncio.get_running_loop().time():
            await asyncio.sleep(0.005)
    await asyncio.sleep(0)
    may_open.set()
    assert await following, "else nobody would tell it anything any more"
    await _until(lambda: not relay.hub.feeds)


async def test_a_thousand_that_come_back_cost_one_read_for_each_channel(
    relay: Relay, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    read_back = streams.read_back

    async def counted(channel: str, before: int | None, *, limit: int) -> list[streams.Entry]:
        reads.append(channel)
        return await read_back(channel, before, limit=limit)

    monkeypatch.setattr(streams, "read_back", counted)
    since = protocol.Since(2, stream.epoch)

    async def come_back() -> list[bytes] | None:
        async with relay.following(stream.channel) as (feed,):
            await relay.prepare(feed, since)
            return relay.recent(feed, since, bytes_max=100_000)

    answers = await asyncio.gather(*(come_back() for _ in range(1000)))

    assert {len(answer or []) for answer in answers} == {8}
    assert reads == [stream.channel]


async def test_one_channel_that_wakes_the_relay_all_the_time_does_not_starve_the_others(
    relay: Relay, stream: Stream, api: Api
) -> None:
    noisy = await api.person("Noisy")
    connection, pipe = await _connected(relay, stream.ann.token)
    await _subscribe(connection, stream.channel)
    loud, _ = await _connected(relay, noisy.token)

    async def make_noise() -> None:
        while True:
            relay._need(channels.user(noisy.id))
            await asyncio.sleep(0)

    noise = asyncio.create_task(make_noise())
    await stream.append(1)
    await _until(lambda: pipe.offsets(stream.channel) == [stream.top])
    noise.cancel()
    connection.left()
    loud.left()
