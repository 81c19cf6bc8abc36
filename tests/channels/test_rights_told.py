"""Between processes: whose rights may have changed is said on the bus, and what was remembered ends there."""

import asyncio

import msgspec
import redis.asyncio

from app.config import Config
from channels.bus_format import RIGHTS
from domain.teams import policy
from domain.teams.policy import BUILT_IN
from tests.factories import Api
from tests.nodes import until

GARBAGE = (b"", b"{}", b"[1]", b"\xff", b'"user_a"', b"[[[")


async def test_a_change_of_rights_is_said_with_whom_it_concerns(api: Api, config: Config) -> None:
    ann, bob, cid = await api.person("Ann"), await api.person("Bob"), await api.person("Cid")
    team = await api.team(ann, viewer=bob, member=cid)
    assert config.redis_url is not None
    async with redis.asyncio.from_url(config.redis_url) as client, client.pubsub() as heard:
        await heard.subscribe(RIGHTS)
        role = {"name": "taker", "permissions": ["inventory:read"]}
        await ann.post(f"/teams/{team}/roles", role)
        for who in (bob, cid):
            await ann.put(f"/teams/{team}/members/{who.id}", {"role": "taker"})
        await ann.put(f"/teams/{team}/roles/taker", {"permissions": []})
        await ann.delete(f"/teams/{team}/members/{cid.id}")
        wanted = [[bob.id], [cid.id], sorted([bob.id, cid.id]), [cid.id]]
        told: list[list[str]] = []
        async with asyncio.timeout(20):
            async for message in heard.listen():
                if message["type"] == "message":
                    told.append(sorted(msgspec.json.decode(message["data"], type=list[str])))
                if told == wanted:
                    return
                assert told == wanted[: len(told)]


async def test_what_another_process_says_is_forgotten_here_and_garbage_harms_nothing(
    api: Api, config: Config
) -> None:
    ann, bob = await api.person("Ann"), await api.person("Bob")
    assert config.redis_url is not None
    before, policy.memory.lasts_s = policy.memory.lasts_s, 3600.0
    try:
        for person in (ann, bob):
            policy.memory.keep(person.id, "team_a", BUILT_IN["owner"], policy.memory.asking())
        async with redis.asyncio.from_url(config.redis_url) as elsewhere:
            for body in (*GARBAGE, msgspec.json.encode([bob.id])):
                await elsewhere.publish(RIGHTS, body)
        await until(lambda: policy.memory.get(bob.id, "team_a") is None)
        assert policy.memory.get(ann.id, "team_a") == BUILT_IN["owner"]
    finally:
        policy.memory.lasts_s = before
