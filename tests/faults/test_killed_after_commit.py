"""A process dies between COMMIT and its announcement: nobody was told of the entry, and it is heard."""

import asyncio
import sys
from pathlib import Path

from app.config import Config
from domain import channels
from tests.factories import Api, Person, api_of, item
from tests.listener import Listeners
from tests.processes import running

# Moves stock like any verb would; what listens to committed entries is not the bus but SIGKILL.
WRITE_AND_DIE = """
import asyncio, os, signal, sys
from domain import db, keys, streams
from domain.actor import Actor
from domain.inventory import service as inventory
from domain.inventory.model import Adjustment

async def main(url, user_id, item_id):
    await db.open_pool(url)
    streams.listeners.append(lambda entries: os.kill(os.getpid(), signal.SIGKILL))
    last = Adjustment(delta=1, reason="the last thing it did")
    await inventory.adjust(Actor(user_id=user_id), item_id, last)

asyncio.run(main(*sys.argv[1:]))
"""


async def _write_and_die(config: Config, person: Person, item_id: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        WRITE_AND_DIE,
        config.database_url or "",
        person.id,
        item_id,
        cwd=Path(__file__).parents[2],
    )
    assert await process.wait() == -9, "it was to be killed between COMMIT and announcement"


async def test_an_entry_whose_writer_was_killed_before_it_could_announce_it_is_heard(
    config: Config, api: Api, url: str, listeners: Listeners
) -> None:
    ann = await api.person("Ann")
    beans = await item(ann)
    channel = channels.inventory(ann.personal_team_id)
    screen = await listeners(url, ann.token)
    await screen.follow(channel)

    for count in range(1, 4):
        await _write_and_die(config, ann, beans["id"])
        await screen.until(lambda count=count: len(screen.seen[channel]) == count)

    assert screen.offsets(channel) == [2, 3, 4]
    assert (await ann.get(f"/inventory/{beans['id']}")).json()["data"]["quantity"] == 13


async def test_it_is_also_heard_when_the_process_that_swept_for_others_is_killed_too(
    own_config: Config, listeners: Listeners
) -> None:
    async with running(own_config) as first, running(own_config) as second, api_of(second.url) as api:
        ann = await api.person("Ann")
        beans = await item(ann)
        channel = channels.inventory(ann.personal_team_id)
        screen = await listeners(second.url, ann.token)
        await screen.follow(channel)

        # The first was ready before the second began, so it is the one that sweeps.
        await first.kill()
        await _write_and_die(own_config, ann, beans["id"])

        await screen.until(lambda: screen.offsets(channel) == [2])
