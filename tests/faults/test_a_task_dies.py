"""A background task that dies takes the process with it, loudly; and all of them end when it stops."""

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from app.config import Config
from app.lifespan import Process
from app.main import create_app
from tests.processes import environment

SERVE_WITH_A_DOOMED_TASK = """
from app import config
from app.main import create_app
from app.server import Server, address, listening

async def doomed():
    raise LookupError("there was nothing left to do")

app = create_app(config.read())
with listening("127.0.0.1", 0) as listener:
    print(address(listener), flush=True)
    server = Server(app, on_started=lambda: app.state.process.supervise("the doomed task", doomed))
    server.run(sockets=[listener])
"""

DOOMED_COMMAND = """
import app.lifespan
from app.cli import main

async def doomed():
    raise LookupError("there was nothing left to do")

app.lifespan._roll_partitions = doomed
main(["serve"])
"""

DOOMED_WORKER = """
from app.cli import main
from app.herald import Herald

async def doomed(self):
    raise LookupError("there was nothing left to do")

Herald.run = doomed
main(["worker"])
"""


async def test_a_background_task_that_dies_takes_the_process_down_and_says_which(config: Config) -> None:
    status, said = await _ends(SERVE_WITH_A_DOOMED_TASK, config, within_s=30)
    assert status != 0
    lines = [json.loads(line) for line in said.splitlines() if line.startswith(b"{")]
    [last_words] = [line for line in lines if line["level"] == "critical"]
    assert last_words["logger"] == "maycole.supervise"
    assert last_words["event"] == "the doomed task died: this process stops"
    assert "LookupError: there was nothing left to do" in last_words["exception"]


async def test_the_command_does_not_take_that_for_a_clean_end(config: Config) -> None:
    status, said = await _ends(DOOMED_COMMAND, config, within_s=30)
    assert status == 1
    assert b"the partition keeper died: this process stops" in said
    assert b"maycole serve: the log above says why" in said


async def test_a_worker_does_not_go_on_without_one_either(config: Config) -> None:
    status, said = await _ends(DOOMED_WORKER, config, within_s=60)
    assert status == 1
    assert b"the herald died: this process stops" in said
    assert b"maycole worker: the log above says why" in said


async def test_a_task_that_loses_its_cancellation_does_not_keep_the_process_from_stopping(
    config: Config,
) -> None:
    """What wait_for of Python 3.11 does where a result and a cancellation come together."""
    lost: list[str] = []

    async def loses_the_first() -> None:
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                if lost:
                    raise
                lost.append("the first")

    process = Process(config, create_app(config))
    process.supervise("one that loses it", loses_the_first)
    [task] = process.tasks
    await asyncio.sleep(0)
    async with asyncio.timeout(60), AsyncExitStack() as stack:
        process.stop_with(stack)

    assert lost == ["the first"]
    assert task.cancelled()


async def _ends(code: str, config: Config, *, within_s: float) -> tuple[int | None, bytes]:
    """The exit status of a process that runs this, and what it says on stderr."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        env=environment(config),
    )
    _, said = await asyncio.wait_for(process.communicate(), within_s)
    return process.returncode, said
