"""A change that is made while Redis is away, by and for those who come meanwhile.

What it costs everybody else is in tests/faults/scenarios/redis_away.py.
"""

import asyncio
from typing import Any

from app.config import Config
from app.embedded import Embedded
from domain import channels
from tests.factories import Api, api_of, item
from tests.listener import Listeners
from tests.processes import running


async def _limiter(api: Api) -> dict[str, Any]:
    check: dict[str, Any] = (await api.call("GET", "/health")).json()["data"]["checks"]["limiter"]
    return check


async def _status(api: Api) -> str:
    status: str = (await api.call("GET", "/health")).json()["data"]["status"]
    return status


async def _until_status(api: Api, wanted: str) -> None:
    async with asyncio.timeout(20):
        while await _status(api) != wanted:
            await asyncio.sleep(0.1)


async def test_a_change_made_while_redis_is_away_is_answered_as_always(
    own_servers: Embedded, own_config: Config, listeners: Listeners
) -> None:
    async with running(own_config) as process, api_of(process.url) as api:
        ann = await api.person("Ann")
        assert own_servers.redis is not None
        own_servers.redis.stop()
        beans = await item(ann)
        newcomer = await listeners(process.url, ann.token)
        channel = channels.inventory(ann.personal_team_id)
        await newcomer.follow(channel)

        await ann.post(f"/inventory/{beans['id']}/adjust", {"delta": 1, "reason": "delivered"})

        await newcomer.until(lambda: newcomer.offsets(channel) == [2])
        assert await _status(api) == "degraded"
        # Each process has its share of every limit meanwhile, and says so.
        async with asyncio.timeout(20):
            # What health says is remembered for a second.
            while (limiter := await _limiter(api))["ok"]:
                await asyncio.sleep(0.1)
        assert "this process counts by itself" in limiter["detail"]
        assert int((await ann.get("/users/me")).headers["RateLimit"].split("r=")[1].split(";")[0]) > 0
        assert (await api.call("GET", "/health/ready")).status_code == 200
        own_servers.redis.start()
        await _until_status(api, "ok")
        checks = (await api.call("GET", "/health")).json()["data"]["checks"]
        assert checks["limiter"]["ok"]
