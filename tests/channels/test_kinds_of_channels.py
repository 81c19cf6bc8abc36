"""Channels that keep the newest entry only, or nothing: coming back, gaps, slow clients, links that break."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.config import Config
from app.embedded import Embedded
from channels import json_format
from channels.protocol import ClientInfo, Info
from domain import db, ids, streams
from domain.streams import Draft
from tests.listener import Listeners
from tests.nodes import KindsGate, Node, node, until
from tests.raw import Raw, raw


@pytest.fixture(scope="module")
async def open_node(config: Config, url: str) -> AsyncIterator[Node]:
    """A node where anyone may follow channels of every kind; the app under test has the pool."""
    async with node(config.redis_url or "", KindsGate()) as started:
        yield started


@pytest.fixture
def channel(request: pytest.FixtureRequest) -> str:
    """A new channel of the kind that the test is about."""
    return f"{request.param}:{ids.new('item')}"


def _of(kind: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("channel", [kind], indirect=True)


async def _subscribed(client: Raw, channel: str, **more: Any) -> dict[str, Any]:
    answer = await client.ask(subscribe={"channel": channel, **more})
    result: dict[str, Any] = answer["subscribe"]
    return result


async def _pushed(client: Raw, channel: str, count: int = 1) -> list[dict[str, Any]]:
    """The first `count` publications on the channel."""
    while len(found := [p["pub"] for p in client.pushes if p["channel"] == channel and "pub" in p]) < count:
        await client.frame()
    return found


async def _in_silence(channel: str, *data: str) -> None:
    """Entries that nobody is told of."""
    async with db.transaction() as unit:
        drafts = [Draft(channel, ids.new("evt"), "test", text) for text in data]
        await streams.append(unit.connection, drafts)


@_of("newest")
@pytest.mark.parametrize("warm", [True, False], ids=["from the ring", "from Postgres"])
async def test_who_comes_back_gets_the_newest_entry_however_much_was_missed(
    open_node: Node, channel: str, warm: bool
) -> None:
    async with raw(open_node.url, token="42") as other, raw(open_node.url, token="42") as client:
        if warm:
            await _subscribed(other, channel)
        await open_node.append(channel, *(f'{{"n":{number}}}' for number in range(1, 6)))
        head = await streams.open_head(channel)
        for position in ({"epoch": head.epoch, "offset": 1}, {"epoch": "another", "offset": 9}, {}):
            result = await _subscribed(client, channel, recover=True, **position)
            assert result["recovered"]
            assert (result["offset"], result["epoch"]) == (5, head.epoch)
            assert [(pub["offset"], pub["data"]) for pub in result["publications"]] == [(5, {"n": 5})]
            await client.ask(unsubscribe={"channel": channel})
        level = await _subscribed(client, channel, recover=True, epoch=head.epoch, offset=5)
        assert (level["recovered"], "publications" in level) == (True, False)


@_of("newest")
async def test_before_the_first_entry_there_is_nothing_to_recover(open_node: Node, channel: str) -> None:
    async with raw(open_node.url, token="42") as client:
        assert "recovered" not in await _subscribed(client, channel, recover=True)
        await open_node.append(channel, "1")
        assert [pub["offset"] for pub in await _pushed(client, channel)] == [1]


@_of("newest")
async def test_a_gap_is_skipped_where_only_the_newest_counts(
    open_node: Node, channel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with raw(open_node.url, token="42") as client:
        await _subscribed(client, channel)
        await open_node.append(channel, "1")
        await _pushed(client, channel)
        await _in_silence(channel, "2", "3", "4")
        await open_node.append(channel, "5")
        await open_node.append(channel, "6")
        seen = [pub["offset"] for pub in await _pushed(client, channel, 2)]
        while seen[-1] != 6:
            seen = [pub["offset"] for pub in await _pushed(client, channel, len(seen) + 1)]
        assert seen[0] == 1
        assert seen == sorted(set(seen)), "in order, and none twice"


@_of("newest")
async def test_a_slow_client_is_given_the_newest_entry_and_none_of_those_between(
    open_node: Node, channel: str
) -> None:
    async with raw(open_node.url, token="42") as client:
        await _subscribed(client, channel)
        [connection] = [each for each in open_node.live.connections if channel in each.subscriptions]
        await open_node.append(channel, "1")
        await _pushed(client, channel)
        connection.paused()
        for text in ("2", "3", "4"):
            await open_node.append(channel, text)
        feed = open_node.live.relay.hub.feeds[channel]
        await until(lambda: feed.last == 4)
        connection.resumed()
        await until(lambda: connection.subscriptions[channel].served is None)
        await open_node.append(channel, "5")
        assert [pub["offset"] for pub in await _pushed(client, channel, 3)] == [1, 4, 5]


@_of("newest")
async def test_a_new_epoch_is_said_and_the_newest_of_it_is_there_on_return(
    open_node: Node, channel: str, listeners: Listeners
) -> None:
    async with raw(open_node.url, token="42") as client:
        await _subscribed(client, channel)
        await open_node.append(channel, "1", "2")
        await _pushed(client, channel, 2)
        async with db.maintenance():
            await db.execute("DELETE FROM stream_entries WHERE channel = $1", channel)
        await db.execute("DELETE FROM stream_heads WHERE channel = $1", channel)
        await open_node.append(channel, '"anew"')
        while not any("unsubscribe" in push for push in client.pushes):
            await client.frame()
        [gone] = [push["unsubscribe"] for push in client.pushes if "unsubscribe" in push]
        assert gone == {"code": 2500, "reason": "insufficient state"}
        result = await _subscribed(client, channel, recover=True, epoch="old", offset=2)
        assert [(pub["offset"], pub["data"]) for pub in result["publications"]] == [(1, "anew")]


@_of("plain")
@pytest.mark.parametrize(
    ("asked", "offsets"),
    [
        ({"limit": 2}, [51, 52]),
        ({"limit": -1}, list(range(51, 151))),
        ({"limit": 2, "since": {"offset": 10}}, [51, 52]),
        ({"limit": 2, "since": {"offset": 148}}, [149, 150]),
        ({"limit": 2, "reverse": True}, [150, 149]),
        ({"limit": 3, "reverse": True, "since": {"offset": 53}}, [52, 51]),
    ],
)
async def test_history_begins_with_the_oldest_entry_that_the_channel_keeps(
    open_node: Node, channel: str, asked: dict[str, Any], offsets: list[int]
) -> None:
    await open_node.append(channel, *map(str, range(150)))
    async with raw(open_node.url, token="42") as client:
        result = (await client.ask(history={"channel": channel, **asked}))["history"]
        assert [pub["offset"] for pub in result["publications"]] == offsets
        assert result["offset"] == 150


@_of("plain")
async def test_no_more_is_recovered_than_the_channel_keeps(open_node: Node, channel: str) -> None:
    await open_node.append(channel, *map(str, range(150)))
    async with raw(open_node.url, token="42") as client:
        result = await _subscribed(client, channel, recover=True, offset=50)
        assert len(result["publications"]) == 100
        await client.ask(unsubscribe={"channel": channel})
        assert "recovered" not in await _subscribed(client, channel, recover=True, offset=49)


@_of("tail")
async def test_where_nothing_is_kept_there_is_no_position_and_no_history(
    open_node: Node, channel: str
) -> None:
    async with raw(open_node.url, token="42") as client:
        result = await _subscribed(client, channel, recover=True, epoch="x", offset=3)
        assert result == {"was_recovering": True}
        assert (await client.ask(history={"channel": channel, "limit": 1}))["error"]["code"] == 108
        await client.ask(unsubscribe={"channel": channel})
        refused = await client.ask(subscribe={"channel": channel, "recover": True, "offset": 3, "flag": 2})
        assert refused["error"]["code"] == 112
        assert "subscribe" in await client.ask(subscribe={"channel": channel}), "it was not subscribed"


@_of("tail")
async def test_a_slow_client_is_told_to_look_again_where_nothing_is_kept(
    open_node: Node, channel: str
) -> None:
    async with raw(open_node.url, token="42") as slow, raw(open_node.url, token="7") as fast:
        await _subscribed(slow, channel)
        await _subscribed(fast, channel)
        connection = next(
            each
            for each in open_node.live.connections
            if channel in each.subscriptions and each.standing.info("").user == "42"
        )
        connection.paused()
        info = ClientInfo("9", "client_9")
        open_node.live.relay.bus.tell(channel, json_format.push(channel, "join", Info(info)))
        while not any(push.get("join", {}).get("info", {}).get("user") == "9" for push in fast.pushes):
            await fast.frame()
        connection.resumed()
        while not any("unsubscribe" in push for push in slow.pushes):
            await slow.frame()
        [gone] = [push["unsubscribe"]["code"] for push in slow.pushes if "unsubscribe" in push]
        assert gone == 2500
        assert not any("unsubscribe" in push for push in fast.pushes)


@pytest.fixture
def own_redis(ground: Path, request: pytest.FixtureRequest) -> Iterator[Embedded]:
    with Embedded(ground / request.node.name[:20], postgres=False) as started:
        yield started


async def test_when_the_link_to_redis_has_been_down_whoever_follows_a_live_tail_looks_again(
    own_redis: Embedded, url: str, listeners: Listeners
) -> None:
    assert own_redis.redis is not None
    tail, stream = f"tail:{ids.new('item')}", f"plain:{ids.new('item')}"
    async with node(own_redis.redis_url or "", KindsGate()) as lone, Listeners() as screens:
        screen = await screens(lone.url, "42")
        await until(lambda: lone.live.relay.bus.listening)
        await screen.follow(tail)
        await screen.follow(stream)
        own_redis.redis.stop()
        await until(lambda: not lone.live.relay.bus.listening)
        await lone.append(stream, "1", "2")
        await screen.until(lambda: screen.offsets(stream) == [1, 2])
        own_redis.redis.start()
        await screen.until(lambda: screen.said.count(("subscribed", tail, False)) == 2)
        await until(lambda: lone.live.relay.bus.speaking)
        await lone.append(stream, "3")
        await screen.until(lambda: screen.offsets(stream) == [1, 2, 3])
        assert sum(said[:2] == ("subscribed", stream) for said in screen.said) == 1, "nothing was lost there"
        assert not any(said[0] == "connecting" for said in screen.said[1:]), "and nobody was cut off"
        info = Info(ClientInfo("9", "client_9"))
        feed = lone.live.relay.hub.feeds[tail]
        heard: list[bytes] = []
        lone.live.relay.hub.pass_on = lambda channel, pushed: heard.append(pushed)  # type: ignore[method-assign]
        lone.live.relay.bus.tell(tail, json_format.push(tail, "leave", info))
        await until(lambda: any(b"client_9" in pushed for pushed in heard))
        assert feed.followers(), "it is heard there again"
