"""What opens is closed again: after whatever still commits, and also where the start fails midway."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis.asyncio
from redis.asyncio.client import PubSub

from app.config import Config
from domain import channels
from tests.processes import environment

WITHIN_S = 30

# A start that fails midway, and then, in the same process, one that works.
TWO_STARTS = """
import asyncio
import json
from datetime import UTC, datetime

import msgspec

import app.lifespan
from app import config
from app.main import create_app
from app.pipeline.limiter import Limiter
from domain import db, health, jobs, streams

class Nothing(msgspec.Struct):
    pass

JOB = jobs.Job("test.last_words", Nothing)
began, leaving = asyncio.Event(), asyncio.Event()

@JOB.handler
async def do(given):
    began.set()
    await leaving.wait()
    await health.say(health.DependencyState(
        process="here:1", dependency="last.words", state="open", before="closed",
        since=datetime.now(UTC), calls=1, failures=1))

def fails():
    raise LookupError("the start failed")

async def fails_as_well(self):
    raise LookupError("to close failed as well")

async def fail_midway(application):
    right = app.lifespan._spare_the_collector, Limiter.close
    app.lifespan._spare_the_collector, Limiter.close = fails, fails_as_well
    said = []
    try:
        async with app.lifespan.lifespan(application):
            said.append("it started")
    except LookupError as error:
        said += [str(error), str(error.__context__)]
    app.lifespan._spare_the_collector, Limiter.close = right
    others = asyncio.all_tasks() - {asyncio.current_task()}
    print(json.dumps([said, db.engine.pool is None, len(streams.listeners), len(others)]))

async def stop_with_a_job_at_work(application):
    async with app.lifespan.lifespan(application):
        print(len(application.state.process.limiter._heard))
        async with db.transaction():
            await jobs.enqueue(JOB, Nothing())
        await began.wait()
        leaving.set()  # the job goes on when the process is stopping

async def main():
    works = msgspec.structs.replace(config.read(), runs_jobs=True)
    await fail_midway(create_app(works))
    await stop_with_a_job_at_work(create_app(works))

asyncio.run(main())
"""


@pytest.fixture(scope="module")
async def told(config: Config) -> AsyncIterator[tuple[bytes, PubSub]]:
    """What that process said of its first start, and what Redis heard."""
    assert config.redis_url is not None
    async with redis.asyncio.Redis.from_url(config.redis_url) as client, client.pubsub() as heard:
        await heard.subscribe(f"maycole:{channels.HEALTH}")
        yield await ran(config, TWO_STARTS), heard


async def ran(config: Config, script: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        script,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        env=environment(config),
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), WITHIN_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0
    return said


async def test_a_start_that_fails_midway_closes_what_it_opened_whatever_else_fails(
    told: tuple[bytes, PubSub],
) -> None:
    said, is_pool_closed, listeners, tasks = json.loads(told[0].splitlines()[0])
    assert said == ["to close failed as well", "the start failed"]
    assert is_pool_closed
    assert (listeners, tasks) == (0, 0)


async def test_a_process_has_said_that_it_is_there_before_it_serves(told: tuple[bytes, PubSub]) -> None:
    """Else the others would not know of it if Redis went now, and their shares (limits) were too large."""
    assert told[0].splitlines()[1] == b"1"


async def test_what_a_job_commits_while_the_process_stops_is_announced(told: tuple[bytes, PubSub]) -> None:
    said = b""
    async with asyncio.timeout(WITHIN_S):
        while b"last.words" not in said:
            message = await told[1].get_message(ignore_subscribe_messages=True, timeout=1)
            said = message["data"] if message is not None else b""
