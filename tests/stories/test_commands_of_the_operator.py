"""`maycole serve --workers` and `maycole demo`, as an operator uses them."""

import asyncio
import re

import psutil

from app.config import Config
from tests.factories import Api, api_of, item
from tests.listener import Listeners
from tests.processes import MAYCOLE, running

SCREENS = 6


async def test_any_worker_hears_what_any_other_has_changed_and_all_stop_together(
    config: Config, listeners: Listeners
) -> None:
    async with running(config, workers=2) as served, api_of(served.url) as api:
        workers = psutil.Process(served.process.pid).children(recursive=True)
        assert len(workers) >= 2
        ann = await api.person("Ann")
        beans = await item(ann)
        channel = f"inventory:{ann.personal_team_id}"
        # The kernel deals connections out: with so many, both workers have some.
        screens = [await listeners(served.url, ann.token) for _ in range(SCREENS)]
        for screen in screens:
            await screen.follow(channel)
        for _ in range(10):
            await ann.post(f"/inventory/{beans['id']}/adjust", {"delta": 1, "reason": "delivered"})
        for screen in screens:
            await screen.until(lambda screen=screen: len(screen.seen[channel]) == 10)  # type: ignore[misc]
            assert screen.offsets(channel) == list(range(2, 12))
        assert await served.stop() == 0
        psutil.wait_procs(workers, timeout=10)
        assert not [worker for worker in workers if worker.is_running()]


async def test_the_demo_sets_a_scene_that_can_be_followed(api: Api, url: str, listeners: Listeners) -> None:
    demo = await asyncio.create_subprocess_exec(
        MAYCOLE, "demo", "--url", url, "--changes", "5", "--every", "0.2", stdout=asyncio.subprocess.PIPE
    )
    assert demo.stdout is not None
    said = ""
    while not (token := re.search(r"^eyJ\S+$", said, re.MULTILINE)):
        said += (await demo.stdout.readline()).decode()
    channel = re.search(r"inventory:team_\w+", said)
    assert channel is not None
    screen = await listeners(url, token[0])
    await screen.follow(channel[0])
    await screen.until(lambda: "inventory.adjusted" in screen.types(channel[0]))
    rest = (await demo.communicate())[0].decode()
    assert await demo.wait() == 0
    assert len(re.findall(r"[+-]\d -> \d+$", said + rest, re.MULTILINE)) == 5


async def test_the_demo_says_where_it_found_no_server() -> None:
    demo = await asyncio.create_subprocess_exec(
        MAYCOLE, "demo", "--url", "http://127.0.0.1:9", stderr=asyncio.subprocess.PIPE
    )
    _, said = await demo.communicate()
    assert demo.returncode == 1
    assert said.decode().startswith("maycole demo: no server at http://127.0.0.1:9")
