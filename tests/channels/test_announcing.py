"""A process that only changes things, such as a worker, announces what it has committed."""

import asyncio

import pytest
import redis.asyncio

from app.config import Config
from app.supervise import Supervision
from channels.announcing import announcing
from domain import streams
from domain.actor import Actor
from domain.users import service as users
from domain.users.model import UserPatch
from tests.factories import Api

WITHIN_S = 10


async def test_what_is_committed_meanwhile_is_announced_and_afterwards_is_not(
    api: Api, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await api.person()
    actor = Actor(user_id=ann.id, personal_team_id=ann.personal_team_id)
    monkeypatch.setattr(streams, "listeners", [])  # the server of this process would announce it too
    assert config.redis_url is not None
    supervision = Supervision(stop=lambda: None)
    async with redis.asyncio.Redis.from_url(config.redis_url) as client, client.pubsub() as heard:
        await heard.subscribe(f"maycole:user:{ann.id}")
        async with announcing(config.redis_url, supervision.beside):
            await users.change(actor, UserPatch(name="Announced"))
            async with asyncio.timeout(WITHIN_S):
                while True:
                    said = await heard.get_message(ignore_subscribe_messages=True, timeout=1)
                    if said is not None and b"Announced" in said["data"]:
                        break
        assert streams.listeners == []
        assert supervision.died is None
