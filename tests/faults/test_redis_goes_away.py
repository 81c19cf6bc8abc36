"""Redis stops for 15 seconds, or freezes: updates go on by polling, none lost, doubled or disordered."""

import asyncio
import os
import signal
from collections.abc import Callable

import pytest

from app.config import Config
from app.embedded import Embedded
from domain import channels
from tests.factories import Api, Person, api_of, item
from tests.listener import Listeners
from tests.processes import running

AWAY_S = 15


def _stop(servers: Embedded) -> Callable[[], None]:
    assert servers.redis is not None
    servers.redis.stop()
    return servers.redis.start


def _freeze(servers: Embedded) -> Callable[[], None]:
    assert servers.redis is not None
    pid = servers.redis.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    return lambda: os.kill(pid, signal.SIGCONT)


async def _status(api: Api) -> str:
    status: str = (await api.call("GET", "/health")).json()["data"]["status"]
    return status


async def _until_status(api: Api, wanted: str) -> None:
    async with asyncio.timeout(20):
        while await _status(api) != wanted:
            await asyncio.sleep(0.1)


async def _write_until(told: asyncio.Event, person: Person, item_id: str) -> int:
    """Move stock, some five times a second, until told to stop; how often."""
    count = 0
    while not told.is_set():
        answer = await person.post(f"/inventory/{item_id}/adjust", {"delta": 1, "reason": "delivered"})
        assert answer.status_code == 200, answer.text
        count += 1
        await asyncio.sleep(0.2)
    return count


@pytest.mark.parametrize("break_it", [_stop, _freeze])
async def test_a_redis_that_is_away_for_fifteen_seconds_costs_nothing(
    own_servers: Embedded,
    own_config: Config,
    listeners: Listeners,
    break_it: Callable[..., Callable[[], None]],
) -> None:
    async with running(own_config) as here, running(own_config) as there, api_of(here.url) as api:
        ann = await api.person("Ann")
        beans = await item(ann)
        channel = channels.inventory(ann.personal_team_id)
        screen = await listeners(there.url, ann.token)
        await screen.follow(channel)
        done = asyncio.Event()
        writing = asyncio.create_task(_write_until(done, ann, beans["id"]))
        await screen.until(lambda: len(screen.seen[channel]) >= 3)

        mend = break_it(own_servers)
        await _until_status(api, "degraded")
        heard = len(screen.seen[channel])
        await asyncio.sleep(AWAY_S)
        assert len(screen.seen[channel]) > heard + AWAY_S, "live updates go on, slower"
        mend()
        await _until_status(api, "ok")
        heard = len(screen.seen[channel])
        await screen.until(lambda: len(screen.seen[channel]) > heard + 3)

        done.set()
        written = await writing
        await screen.until(lambda: len(screen.seen[channel]) >= written)
        assert screen.offsets(channel) == list(range(2, written + 2))
        assert not any(said[0] in ("connecting", "disconnected") for said in screen.said[1:]), (
            "nobody was cut off"
        )


async def test_a_change_made_while_redis_is_away_is_answered_as_always(
    own_servers: Embedded, own_config: Config, listeners: Listeners
) -> None:
    async with running(own_config) as process, api_of(process.url) as api:
        ann = await api.person("Ann")
        mend = _stop(own_servers)
        beans = await item(ann)
        newcomer = await listeners(process.url, ann.token)
        channel = channels.inventory(ann.personal_team_id)
        await newcomer.follow(channel)

        await ann.post(f"/inventory/{beans['id']}/adjust", {"delta": 1, "reason": "delivered"})

        await newcomer.until(lambda: newcomer.offsets(channel) == [2])
        assert await _status(api) == "degraded"
        assert (await api.call("GET", "/health/ready")).status_code == 200
        mend()
        await _until_status(api, "ok")
