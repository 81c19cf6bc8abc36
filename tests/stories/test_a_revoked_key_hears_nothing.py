"""A key that is revoked on one process is over on all of them, REST and sockets alike."""

import asyncio

from app.config import Config
from tests.app.company import problem
from tests.factories import Api, api_of, item
from tests.keys import new_key
from tests.listener import Listeners
from tests.processes import running


async def test_a_key_that_is_revoked_here_is_over_there(config: Config, listeners: Listeners) -> None:
    async with (
        running(config) as here,
        running(config) as there,
        api_of(here.url) as api,
        api_of(there.url) as elsewhere,
    ):
        ann = await api.person("Ann")
        team = await api.team(ann)
        key = await new_key(ann, "inventory:read", "team:read", teamId=team)
        other = await new_key(ann, "inventory:read", teamId=team)
        channel = f"inventory:{team}"
        over, staying = await listeners(there.url, key["key"]), await listeners(there.url, other["key"])
        protobuf = await listeners(there.url, key["key"], use_protobuf=True)
        for screen in (over, staying, protobuf):
            await screen.follow(channel)
        await item(ann, team)
        for screen in (over, staying, protobuf):
            await screen.until(lambda screen=screen: screen.offsets(channel) == [1])

        revoked = await ann.delete(f"/auth/api-keys/{key['id']}")
        assert revoked.status_code == 204, revoked.text
        await _is_over(elsewhere, key["key"])
        await asyncio.gather(
            *(one.until(lambda one=one: ("disconnected", 3500) in one.said) for one in (over, protobuf))
        )

        await item(ann, team)
        await staying.until(lambda: staying.offsets(channel) == [1, 2])
        assert over.offsets(channel) == protobuf.offsets(channel) == [1]


async def _is_over(api: Api, token: str) -> None:
    problem(await api.call("GET", "/teams", token=token), 401, "invalid_api_key")
