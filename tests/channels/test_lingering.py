"""Lingering: who loses a connection and is back in time was never away; who goes is gone at once."""

import asyncio
from collections.abc import Callable

from app.config import Config
from channels.live import Live
from channels.protocol import ClientInfo
from domain import ids
from tests.channels.present import are, follow, is_alone, keeping, presence_of, seen, team_of, users
from tests.factories import Api, Person
from tests.nodes import Node, until
from tests.raw import Raw, raw


async def test_who_is_back_in_time_was_never_away(
    api: Api, url: str, other: Node, live: Live, lingers: Callable[[float], None]
) -> None:
    lingers(3600)
    bob = await api.person("Bob")
    ann, team = await team_of(api, bob)
    here = f"presence:{team}"
    async with raw(url, token=ann.token) as watching:
        await follow(watching, here)
        async with raw(url, token=bob.token) as before:
            await follow(before, here)
            first = await seen(watching, "join", bob.id)
        assert await users(watching, here) == sorted([ann.id, bob.id]), "without a connection, yet there"
        async with raw(other.url, token=bob.token) as after:
            await follow(after, here)
            while _comings(watching, bob) < 2:
                await watching.frame()
            live.relay.presence._gone(here, first["client"])  # the while is over
            left = await seen(watching, "leave", bob.id)
            assert left["client"] == first["client"], "the leave of the connection that was lost"
            told = [(kind, push[kind]["info"]["client"]) for push in watching.pushes for kind in push
                    if kind in ("join", "leave") and push[kind]["info"]["user"] == bob.id]  # fmt: skip
            assert [kind for kind, _ in told] == ["join", "join", "leave"], "never nobody of his"
            await until(lambda: _count(watching, here, bob, 1))


async def test_several_devices_are_one_person_until_the_last_is_gone(
    api: Api, url: str, lingers: Callable[[float], None]
) -> None:
    lingers(0.1)
    bob = await api.person("Bob")
    ann, team = await team_of(api, bob)
    here = f"presence:{team}"
    async with raw(url, token=ann.token) as watching, raw(url, token=bob.token) as phone:
        await follow(watching, here)
        await follow(phone, here)
        async with raw(url, token=bob.token) as laptop:
            await follow(laptop, here)
            assert await _stats(watching, here) == {"num_clients": 3, "num_users": 2}
        gone = await seen(watching, "leave", bob.id)
        assert await _stats(watching, here) == {"num_clients": 2, "num_users": 2}
        assert gone["client"] not in await presence_of(watching, here)
        await phone.ask(unsubscribe={"channel": here})
        assert await _stats(watching, here) == {"num_clients": 1, "num_users": 1}


async def test_who_goes_on_purpose_or_may_not_stay_does_not_linger(
    api: Api, url: str, lingers: Callable[[float], None]
) -> None:
    lingers(3600)
    bob, cid = await api.person("Bob"), await api.person("Cid")
    ann, team = await team_of(api, bob, cid)
    here = f"presence:{team}"
    async with raw(url, token=ann.token) as first, raw(url, token=bob.token) as second:
        for client in (first, second):
            await follow(client, here)
        async with raw(url, token=cid.token) as third:
            await follow(third, here)
            await third.ask(unsubscribe={"channel": here})
        await seen(first, "leave", cid.id)
        assert (await bob.post("/auth/logout")).status_code == 204
        await seen(first, "leave", bob.id)
        assert await second.closed() == 3500
        await until(lambda: is_alone(first, here, ann))


async def test_who_lingers_is_gone_in_time_also_if_their_process_is(config: Config) -> None:
    channel = f"tail:{ids.new('item')}"
    async with keeping(config) as killed, keeping(config) as alive:
        killed.presence.came(channel, ClientInfo("bob", "client_bob"))
        await until(lambda: are(alive.presence, channel, "bob"))
        killed.presence.went(channel, "client_bob", lingers_s=1)
        assert await are(killed.presence, channel, "bob")
        await killed.kill()
        # In less time than the minute that is said of who is there.
        await until(lambda: are(alive.presence, channel))


async def test_who_lingers_and_follows_again_by_the_same_connection_did_not_come(config: Config) -> None:
    channel, bob = f"tail:{ids.new('item')}", ClientInfo("bob", "client_bob")
    async with keeping(config) as keeper:
        presence = keeper.presence
        presence.came(channel, bob)
        assert await are(presence, channel, "bob")
        presence.went(channel, "client_bob", lingers_s=0.2)
        presence.came(channel, bob)
        assert presence._hints == [], "neither gone nor come"
        await asyncio.sleep(0.4)
        assert await are(presence, channel, "bob"), "and it stays so once the while is over"


def _comings(client: Raw, person: Person) -> int:
    """How often this person was said to come."""
    return sum(push.get("join", {}).get("info", {}).get("user") == person.id for push in client.pushes)


async def _count(client: Raw, channel: str, person: Person, connections: int) -> bool:
    return (await users(client, channel)).count(person.id) == connections


async def _stats(client: Raw, channel: str) -> dict[str, int]:
    stats: dict[str, int] = (await client.ask(presence_stats={"channel": channel}))["presence_stats"]
    return stats
