"""`maycole up`: one command starts everything; a SIGKILL costs nothing, of it or of its Redis; Ctrl-C leaves
nothing running."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.factories import PASSWORD, Api, Person, api_of, item
from tests.processes import MAYCOLE, SAYS_WITHIN_S, Reader

LISTEN = Path(__file__).parents[2] / "docs" / "examples" / "listen.py"


async def _up(data_dir: Path, port: int) -> tuple[Reader, str]:
    process = await asyncio.create_subprocess_exec(
        MAYCOLE,
        "up",
        env={"PATH": os.environ["PATH"], "PORT": str(port), "MAYCOLE_DATA_DIR": str(data_dir)},
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    reader = Reader(process)
    return reader, (await reader.until(r"Maycole serves on (http://\S+)"))[1]


async def _listen(url: str, person: Person, team: str) -> Reader:
    process = await asyncio.create_subprocess_exec(
        sys.executable, LISTEN, url, person.email, PASSWORD, team, stdout=asyncio.subprocess.PIPE
    )
    return Reader(process)


@contextlib.contextmanager
def _redis_that_does_not_start(data_dir: Path) -> Iterator[None]:
    """Until the block ends; the one that runs goes on."""
    conf = data_dir / "redis.conf"
    good = conf.read_text()
    conf.write_text(f"{good}no-such-setting yes\n")
    try:
        yield
    finally:
        conf.write_text(good)


async def _until_health_is(api: Api, status: str) -> None:
    async with asyncio.timeout(SAYS_WITHIN_S):
        while (answer := await api.call("GET", "/health")).json()["data"]["status"] != status:
            assert answer.status_code == 200, answer.text
            await asyncio.sleep(0.05)


async def test_everything_starts_survives_kills_and_stops_with_one_command(ground: Path) -> None:
    data_dir = ground / "up"
    first, url = await _up(data_dir, 0)
    screen = None
    last = first
    try:
        async with api_of(url) as api:
            ann, bob = await api.person("Ann"), await api.person("Bob")
            team = await api.team(ann, viewer=bob)
            beans = await item(ann, team)
            screen = await _listen(url, bob, team)
            await screen.until("^following inventory:")
            adjust = f"/inventory/{beans['id']}/adjust"
            assert (await ann.post(adjust, {"delta": -3, "reason": "sold"})).status_code == 200
            assert (await screen.until(r"^ +(\d+)  inventory.adjusted  Coffee beans: 7"))[1] == "2"

        first.process.kill()
        await first.process.wait()
        assert (data_dir / "jwt-secret").stat().st_mode & 0o077 == 0
        last, again = await _up(data_dir, int(url.rpartition(":")[2]))
        assert again == url

        async with api_of(url) as api:
            ann.api = api
            answer = await ann.post(adjust, {"delta": 1, "reason": "delivered"})
            assert answer.status_code == 200, "tokens outlive a restart"
            assert (await screen.until(r"^ +(\d+)  inventory.adjusted  Coffee beans: 8"))[1] == "3"
            looked = [line for line in screen.lines if line.startswith("looked")]
            assert looked == ["looked: 1 items at 1"], "what was missed was recovered"

            with _redis_that_does_not_start(data_dir):
                os.kill(int((data_dir / "redis" / "redis.pid").read_text()), signal.SIGKILL)
                await _until_health_is(api, "degraded")
                assert (await ann.post(adjust, {"delta": 1, "reason": "found"})).status_code == 200
                assert (await screen.until(r"^ +(\d+)  inventory.adjusted  Coffee beans: 9"))[1] == "4"
            await last.until("redis: ready")
            await _until_health_is(api, "ok")
            assert (await ann.post(adjust, {"delta": 1, "reason": "found"})).status_code == 200
            assert (await screen.until(r"^ +(\d+)  inventory.adjusted  Coffee beans: 10"))[1] == "5"

        started = psutil.Process(last.process.pid).children(recursive=True)
        assert any("postgres" in child.name() for child in started)
        last.process.send_signal(signal.SIGINT)
        await last.until("stopped, and everything that was started with it")
        assert await last.process.wait() == 0
        assert not [child for child in started if child.is_running()]
    finally:
        for reader in filter(None, (screen, last)):
            if reader.process.returncode is None:
                reader.process.kill()
                await reader.process.wait()


async def test_a_second_one_in_the_same_directory_says_who_holds_it(ground: Path) -> None:
    data_dir = ground / "held"
    holder, _ = await _up(data_dir, 0)
    try:
        second = await asyncio.create_subprocess_exec(
            MAYCOLE,
            "up",
            env={"PATH": os.environ["PATH"], "PORT": "0", "MAYCOLE_DATA_DIR": str(data_dir)},
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await second.communicate()
        assert second.returncode == 1
        assert str(holder.process.pid) in said.decode()
        assert "Traceback" not in said.decode()
    finally:
        holder.process.send_signal(signal.SIGTERM)
        assert await holder.process.wait() == 0
