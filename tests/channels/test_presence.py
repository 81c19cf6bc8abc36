"""Presence: who follows a channel, in all processes; no ghosts, and nobody forgotten for long."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
import redis.asyncio

from app.config import Config
from app.embedded import Embedded
from channels.presence import Presence
from channels.protocol import ClientInfo
from domain import ids
from tests.channels.present import are, follow, is_alone, keeping, presence_of, seen, team_of, users
from tests.factories import Api
from tests.nodes import KindsGate, Node, node, until
from tests.raw import Raw, raw


@pytest.fixture
def own_redis(ground: Path, request: pytest.FixtureRequest) -> Iterator[Embedded]:
    with Embedded(ground / request.node.name[:20], postgres=False) as started:
        yield started


async def test_everyone_sees_who_follows_in_whichever_process_and_who_comes_and_goes(
    api: Api, url: str, other: Node, lingers: Callable[[float], None]
) -> None:
    lingers(0.1)
    bob = await api.person("Bob")
    ann, team = await team_of(api, bob)
    here = f"presence:{team}"
    async with raw(url, token=ann.token) as first, contextlib.AsyncExitStack() as stack:
        await follow(first, here)
        second = await stack.enter_async_context(raw(other.url, token=bob.token))
        third = await stack.enter_async_context(raw(url, token=bob.token))
        await follow(second, here)
        await follow(third, here)
        came = await seen(first, "join", bob.id)
        assert came["conn_info"] == {"name": "Bob"}
        for client in (first, second, third):
            present = await presence_of(client, here)
            assert sorted(info["user"] for info in present.values()) == sorted([ann.id, bob.id, bob.id])
            assert came["client"] in present
            assert all(info["client"] == name for name, info in present.items())
            stats = (await client.ask(presence_stats={"channel": here}))["presence_stats"]
            assert stats == {"num_clients": 3, "num_users": 2}
        await third.ask(unsubscribe={"channel": here})
        assert await users(third, here) == sorted([ann.id, bob.id]), "at once, for the one who left"
        await stack.aclose()
        await seen(first, "leave", bob.id)
        await until(lambda: is_alone(first, here, ann))


async def test_one_may_look_without_following_and_an_empty_channel_answers_zeros(api: Api, url: str) -> None:
    ann, team = await team_of(api)
    async with raw(url, token=ann.token) as client:
        assert await presence_of(client, f"presence:{team}") == {}
        stats = (await client.ask(presence_stats={"channel": f"presence:{team}"}))["presence_stats"]
        assert stats == {"num_clients": 0, "num_users": 0}


async def test_a_stranger_neither_follows_nor_looks_nor_is_seen(api: Api, url: str) -> None:
    ann, team = await team_of(api)
    eve = await api.person("Eve")
    here = f"presence:{team}"
    async with raw(url, token=ann.token) as inside, raw(url, token=eve.token) as outside:
        await follow(inside, here)
        for command in ("subscribe", "presence", "presence_stats"):
            assert (await outside.ask(**{command: {"channel": here}}))["error"]["code"] == 103
            absent = await outside.ask(**{command: {"channel": "presence:team_00000000000000000000000000"}})
            assert absent["error"]["code"] == 103, "the same as for what is not there"
        assert await users(inside, here) == [ann.id]


async def test_who_may_not_be_there_any_more_is_not_there_any_more(api: Api, url: str) -> None:
    bob = await api.person("Bob")
    ann, team = await team_of(api, bob)
    here = f"presence:{team}"
    async with raw(url, token=ann.token) as first, raw(url, token=bob.token) as second:
        await follow(first, here)
        await follow(second, here)
        await seen(first, "join", bob.id)
        await ann.delete(f"/teams/{team}/members/{bob.id}")
        await seen(first, "leave", bob.id)
        await until(lambda: is_alone(first, here, ann))
        assert (await second.ask(presence={"channel": here}))["error"]["code"] == 103


async def test_what_a_killed_process_said_fades_and_is_swept_away(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("channels.presence.KEPT_S", 1)
    monkeypatch.setattr("channels.presence.REFRESH_S", 0.2)
    channel = f"tail:{ids.new('item')}"
    async with keeping(config) as killed, keeping(config) as alive:
        killed.presence.came(channel, ClientInfo("bob", "client_bob"))
        alive.presence.came(channel, ClientInfo("ann", "client_ann"))
        await until(lambda: are(alive.presence, channel, "ann", "bob"))
        await killed.kill()
        await until(lambda: are(alive.presence, channel, "ann"))
        key = f"maycole:presence:{channel}"
        await until(lambda: _is_swept(alive.presence, channel, key, "client_bob"))
        assert await are(alive.presence, channel, "ann"), "who is there has been said again meanwhile"


async def test_somebody_who_stays_is_there_however_much_changes(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("channels.presence.KEPT_S", 1)
    monkeypatch.setattr("channels.presence.REFRESH_S", 0.2)
    channel, noise = f"tail:{ids.new('item')}", f"tail:{ids.new('item')}"
    async with keeping(config) as keeper:
        keeper.presence.came(channel, ClientInfo("ann", "client_ann"))
        changing = asyncio.create_task(_come_and_go(keeper.presence, noise))
        try:
            ends = await _lasts_until(keeper.presence, channel)
            await until(lambda: _lasts_longer(keeper.presence, channel, ends), within_s=5)
            assert await are(keeper.presence, channel, "ann"), "it is answered, too, while something changes"
        finally:
            changing.cancel()


async def _come_and_go(presence: Presence, channel: str) -> None:
    """Something changes in each turn of the loop."""
    while True:
        presence.came(channel, ClientInfo("bob", "client_bob"))
        await asyncio.sleep(0)
        presence.went(channel, "client_bob")
        await asyncio.sleep(0)


async def _lasts_until(presence: Presence, channel: str) -> float:
    await presence.of(channel)
    [said] = (await presence._redis.hgetall(f"maycole:presence:{channel}")).values()
    until_s: float = msgspec.json.decode(said)["until"]
    return until_s


async def _lasts_longer(presence: Presence, channel: str, ends: float) -> bool:
    return await _lasts_until(presence, channel) > ends


async def _is_swept(presence: Presence, channel: str, key: str, client: str) -> bool:
    await presence.of(channel)
    return not await presence._redis.hexists(key, client)


async def test_while_redis_is_away_presence_is_an_error_and_afterwards_all_are_there_again(
    own_redis: Embedded, url: str
) -> None:
    assert own_redis.redis is not None
    here = f"tail:{ids.new('item')}"
    async with (
        node(own_redis.redis_url or "", KindsGate()) as lone,
        raw(lone.url, token="ann") as first,
        raw(lone.url, token="bob") as second,
    ):
        await until(lambda: lone.live.relay.bus.listening)
        await follow(first, here)
        await follow(second, here)
        assert await users(first, here) == ["ann", "bob"]
        own_redis.redis.stop()
        for command in ("presence", "presence_stats"):
            error = (await first.ask(**{command: {"channel": here}}))["error"]
            assert error == {"code": 100, "message": "internal server error", "temporary": True}
        assert "unsubscribe" in await second.ask(unsubscribe={"channel": here}), "the rest goes on"
        own_redis.redis.start()
        await until(lambda: lone.live.relay.bus.listening)
        while not any("unsubscribe" in push for push in first.pushes):
            await first.frame()
        await follow(first, here)
        assert await users(first, here) == ["ann"]


async def test_what_redis_has_forgotten_is_said_again(
    own_redis: Embedded, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("channels.presence.REFRESH_S", 0.2)
    here = f"tail:{ids.new('item')}"
    async with (
        node(own_redis.redis_url or "", KindsGate()) as lone,
        raw(lone.url, token="ann") as client,
        redis.asyncio.Redis.from_url(own_redis.redis_url or "") as store,
    ):
        await until(lambda: lone.live.relay.bus.listening)
        await follow(client, here)
        assert await users(client, here) == ["ann"]
        await store.flushall()
        await until(lambda: _sees(client, here, ["ann"]))


async def _sees(client: Raw, channel: str, expected: list[str]) -> bool:
    return await users(client, channel) == expected
