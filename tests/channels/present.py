"""Who is present, as clients ask and hear; and the presence of one process by itself."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from app.config import Config
from channels.bus import Bus
from channels.bus_format import Listener
from channels.presence import Presence
from tests.factories import Api, Person
from tests.raw import Raw


async def team_of(api: Api, *others: Person) -> tuple[Person, str]:
    ann = await api.person("Ann")
    return ann, await api.team(ann, **dict(zip(("viewer", "member"), others, strict=False)))


async def follow(client: Raw, channel: str) -> None:
    answer = await client.ask(subscribe={"channel": channel})
    assert "subscribe" in answer, answer


async def presence_of(client: Raw, channel: str) -> dict[str, Any]:
    """Client -> the info that others see."""
    answer = await client.ask(presence={"channel": channel})
    present: dict[str, Any] = answer["presence"]["presence"]
    return present


async def users(client: Raw, channel: str) -> list[str]:
    return sorted(info["user"] for info in (await presence_of(client, channel)).values())


async def seen(client: Raw, kind: str, user: str) -> dict[str, Any]:
    """The info in the first join or leave of this user."""
    while True:
        for push in client.pushes:
            info: dict[str, Any] = push.get(kind, {}).get("info", {})
            if info.get("user") == user:
                return info
        await client.frame()


async def is_alone(client: Raw, channel: str, person: Person) -> bool:
    return await users(client, channel) == [person.id]


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
async def keeping(config: Config) -> AsyncIterator[Keeper]:
    keeper = Keeper(config.redis_url or "")
    try:
        yield keeper
    finally:
        await keeper.kill()
        await keeper.bus.close()


async def are(presence: Presence, channel: str, *users: str) -> bool:
    return sorted(info.user for info in (await presence.of(channel)).values()) == list(users)
