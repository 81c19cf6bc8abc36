"""Presence: who follows a channel, in all processes; no ghosts, and nobody forgotten for long."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis.asyncio

from app.config import Config
from app.embedded import Embedded
from channels.bus import Bus, Listener
from channels.gate import Gate
from channels.presence import Presence
from channels.protocol import ClientInfo
from domain import ids
from tests.factories import Api, Person
from tests.nodes import KindsGate, Node, node, until
from tests.raw import Raw, raw


@pytest.fixture
async def other(config: Config, url: str) -> AsyncIterator[Node]:
    """Another node beside the app under test, with the product's own gate."""
    async with node(config.redis_url or "", Gate()) as started:
        yield started


@pytest.fixture
def own_redis(ground: Path, request: pytest.FixtureRequest) -> Iterator[Embedded]:
    with Embedded(ground / request.node.name[:20], postgres=False) as started:
        yield started


async def _team(api: Api, *others: Person) -> tuple[Person, str]:
    ann = await api.person("Ann")
    return ann, await api.team(ann, **dict(zip(("viewer", "member"), others, strict=False)))


async def _follow(client: Raw, channel: str) -> None:
    answer = await client.ask(subscribe={"channel": channel})
    assert "subscribe" in answer, answer


async def _present(client: Raw, channel: str) -> dict[str, Any]:
    """Client -> the info that others see."""
    answer = await client.ask(presence={"channel": channel})
    present: dict[str, Any] = answer["presence"]["presence"]
    return present


async def _users(client: Raw, channel: str) -> list[str]:
    return sorted(info["user"] for info in (await _present(client, channel)).values())


async def _seen(client: Raw, kind: str, user: str) -> dict[str, Any]:
    """The info in the first join or leave of this user."""
    while True:
        for push in client.pushes:
            info: dict[str, Any] = push.get(kind, {}).get("info", {})
            if info.get("user") == user:
                return info
        await client.frame()


async def test_everyone_sees_who_follows_in_whichever_process_and_who_comes_and_goes(
    api: Api, url: str, other: Node
) -> None:
    bob = await api.person("Bob")
    ann, team = await _team(api, bob)
    here = f"presence:{team}"
    async with raw(url, token=ann.token) as first, contextlib.AsyncExitStack() as stack:
        await _follow(first, here)
        second = await stack.enter_async_context(raw(other.url, token=bob.token))
        third = await stack.enter_async_context(raw(url, token=bob.token))
        await _follow(second, here)
        await _follow(third, here)
        came = await _seen(first, "join", bob.id)
        assert came["conn_info"] == {"name": "Bob"}
        for client in (first, second, third):
            present = await _present(client, here)
            assert sorted(info["user"] for info in present.values()) == sorted([ann.id, bob.id, bob.id])
            assert came["client"] in present
            assert all(info["client"] == name for name, info in present.items())
            stats = (await client.ask(presence_stats={"channel": here}))["presence_stats"]
            assert stats == {"num_clients": 3, "num_users": 2}
        await third.ask(unsubscribe={"channel": here})
        assert await _users(third, here) == sorted([ann.id, bob.id]), "at once, for the one who left"
        await stack.aclose()
        await _seen(first, "leave", bob.id)
        await until(lambda: _is_alone(first, here, ann))


async def _is_alone(client: Raw, channel: str, person: Person) -> bool:
    return await _users(client, channel) == [person.id]


async def test_one_may_look_without_following_and_an_empty_channel_answers_zeros(api: Api, url: str) -> None:
    ann, team = await _team(api)
    async with raw(url, token=ann.token) as client:
        assert await _present(client, f"presence:{team}") == {}
        stats = (await client.ask(presence_stats={"channel": f"presence:{team}"}))["presence_stats"]
        assert stats == {"num_clients": 0, "num_users": 0}


async def test_a_stranger_neither_follows_nor_looks_nor_is_seen(api: Api, url: str) -> None:
    ann, team = await _team(api)
    eve = await api.person("Eve")
    here = f"presence:{team}"
    async with raw(url, token=ann.token) as inside, raw(url, token=eve.token) as outside:
        await _follow(inside, here)
        for command in ("subscribe", "presence", "presence_stats"):
            assert (await outside.ask(**{command: {"channel": here}}))["error"]["code"] == 103
            absent = await outside.ask(**{command: {"channel": "presence:team_00000000000000000000000000"}})
            assert absent["error"]["code"] == 103, "the same as for what is not there"
        assert await _users(inside, here) == [ann.id]


async def test_who_may_not_be_there_any_more_is_not_there_any_more(api: Api, url: str) -> None:
    bob = await api.person("Bob")
    ann, team = await _team(api, bob)
    here = f"presence:{team}"
    async with raw(url, token=ann.token) as first, raw(url, token=bob.token) as second:
        await _follow(first, here)
        await _follow(second, here)
        await _seen(first, "join", bob.id)
        await ann.delete(f"/teams/{team}/members/{bob.id}")
        await _seen(first, "leave", bob.id)
        await until(lambda: _is_alone(first, here, ann))
        assert (await second.ask(presence={"channel": here}))["error"]["code"] == 103


async def test_what_a_killed_process_said_fades_and_is_swept_away(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("channels.presence.KEPT_S", 1)
    monkeypatch.setattr("channels.presence.REFRESH_S", 0.2)
    channel = f"tail:{ids.new('item')}"
    async with _keeper(config) as killed, _keeper(config) as alive:
        killed.presence.came(channel, ClientInfo("bob", "client_bob"))
        alive.presence.came(channel, ClientInfo("ann", "client_ann"))
        await until(lambda: _are(alive.presence, channel, "ann", "bob"))
        await killed.kill()
        await until(lambda: _are(alive.presence, channel, "ann"))
        key = f"maycole:presence:{channel}"
        await until(lambda: _is_swept(alive.presence, channel, key, "client_bob"))
        assert await _are(alive.presence, channel, "ann"), "who is there has been said again meanwhile"


async def test_somebody_who_stays_is_there_however_much_changes(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("channels.presence.KEPT_S", 1)
    monkeypatch.setattr("channels.presence.REFRESH_S", 0.2)
    channel, noise = f"tail:{ids.new('item')}", f"tail:{ids.new('item')}"
    async with _keeper(config) as keeper:
        keeper.presence.came(channel, ClientInfo("ann", "client_ann"))
        changing = asyncio.create_task(_come_and_go(keeper.presence, noise))
        try:
            ends = await _lasts_until(keeper.presence, channel)
            await until(lambda: _lasts_longer(keeper.presence, channel, ends), within_s=5)
            assert await _are(keeper.presence, channel, "ann"), "it is answered, too, while something changes"
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


class Keeper:
    """The presence of one process."""

    def __init__(self, redis_url: str) -> None:
        deaf = Listener(
            on_publication=lambda *what: None,
            on_push=lambda *what: None,
            on_head=lambda head: None,
            on_link=lambda up: None,
        )
        self.bus = Bus(redis_url, deaf)
        self.presence = Presence(self.bus)
        self._running = asyncio.create_task(self.presence.run())

    async def kill(self) -> None:
        """No farewell."""
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)


@contextlib.asynccontextmanager
async def _keeper(config: Config) -> AsyncIterator[Keeper]:
    keeper = Keeper(config.redis_url or "")
    try:
        yield keeper
    finally:
        await keeper.kill()
        await keeper.bus.close()


async def _are(presence: Presence, channel: str, *users: str) -> bool:
    return sorted(info.user for info in (await presence.of(channel)).values()) == list(users)


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
        await _follow(first, here)
        await _follow(second, here)
        assert await _users(first, here) == ["ann", "bob"]
        own_redis.redis.stop()
        for command in ("presence", "presence_stats"):
            error = (await first.ask(**{command: {"channel": here}}))["error"]
            assert error == {"code": 100, "message": "internal server error", "temporary": True}
        assert "unsubscribe" in await second.ask(unsubscribe={"channel": here}), "the rest goes on"
        own_redis.redis.start()
        await until(lambda: lone.live.relay.bus.listening)
        while not any("unsubscribe" in push for push in first.pushes):
            await first.frame()
        await _follow(first, here)
        assert await _users(first, here) == ["ann"]


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
        await _follow(client, here)
        assert await _users(client, here) == ["ann"]
        await store.flushall()
        await until(lambda: _sees(client, here, ["ann"]))


async def _sees(client: Raw, channel: str, users: list[str]) -> bool:
    return await _users(client, channel) == users
