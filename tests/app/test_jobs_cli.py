"""`maycole jobs`: the operator sees what waits and what failed, and has it tried again."""

import asyncio
import re
import secrets
import sys

import asyncpg
import msgspec
import pytest

from app.config import Config
from domain import db, job_store, jobs
from tests.processes import MAYCOLE, environment

WITHIN_S = 20


class Order(msgspec.Struct, frozen=True):
    word: str


BROKEN = jobs.Job("test.broken", Order, tries=2, first_wait_s=0.01)
mended: set[str] = set()
done: set[str] = set()


@BROKEN.handler
async def do(order: Order) -> None:
    if order.word not in mended:
        raise LookupError(f"no {order.word}")
    done.add(order.word)


@pytest.fixture
async def parked(url: str) -> tuple[int, str]:
    """A job that is parked, and its word."""
    word = secrets.token_hex(6)
    async with db.transaction():
        job_id = await jobs.enqueue(BROKEN, Order(word))
    assert job_id is not None
    async with asyncio.timeout(WITHIN_S):
        while job_id not in {one.id for one in await job_store.parked()}:
            await asyncio.sleep(0.01)
    return job_id, word


async def command(config: Config, *arguments: str, **settings: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        MAYCOLE,
        "jobs",
        *arguments,
        env=environment(config) | settings,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, said.decode()


async def until_done(word: str) -> None:
    async with asyncio.timeout(WITHIN_S):
        while word not in done:
            await asyncio.sleep(0.01)


async def test_parked_jobs_are_listed_with_their_error_and_one_is_tried_again_by_its_id(
    config: Config, parked: tuple[int, str]
) -> None:
    job_id, word = parked
    code, said = await command(config)
    assert code == 0
    assert re.search(r"(?m)^job +state +count +oldest$", said)
    assert re.search(r"(?m)^test\.broken +parked +\d+  \d+ s ago$", said)
    assert re.search(rf"(?m)^ +{job_id}  test\.broken, 2 tries, \d+ s ago, dropped in 13 days: ", said)
    assert f": LookupError: no {word} (" in said

    mended.add(word)
    assert await command(config, "retry", str(job_id)) == (0, f"job {job_id} is queued again\n")
    await until_done(word)
    code, said = await command(config, "retry", str(job_id))
    assert (code, said) == (1, f"maycole jobs: job {job_id}: not parked\n")


async def test_it_is_said_when_a_parked_job_will_be_dropped(config: Config, parked: tuple[int, str]) -> None:
    job_id, _ = parked
    for days, said_of_it in (("1", "dropped in 23 h"), ("30", "dropped in 29 days")):
        _, said = await command(config, JOBS_PARKED_DAYS=days)
        assert re.search(rf"(?m)^ +{job_id}  test\.broken, 2 tries, \d+ s ago, {said_of_it}: ", said), said
    await db.execute("UPDATE pgqueuer SET updated = now() - interval '2 days' WHERE id = $1", job_id)
    _, said = await command(config, JOBS_PARKED_DAYS="1")
    assert re.search(rf"(?m)^ +{job_id}  .* 2 days ago, dropped within the hour: ", said), said


async def test_all_of_them_are_tried_again(config: Config, parked: tuple[int, str]) -> None:
    job_id, word = parked
    mended.add(word)
    _, said = await command(config, "retry", "--all")
    assert f"job {job_id} is queued again\n" in said
    await until_done(word)


async def test_an_empty_queue_is_said_to_be_empty(config: Config) -> None:
    """Of a database in which nothing was ever enqueued."""
    name = f"empty_{secrets.token_hex(6)}"
    assert config.database_url is not None
    owner = await asyncpg.connect(config.database_url)
    await owner.execute(f"CREATE DATABASE {name}")
    try:
        other = msgspec.structs.replace(
            config, database_url=config.database_url.replace("@/maycole?", f"@/{name}?")
        )
        migrating = await asyncio.create_subprocess_exec(
            MAYCOLE, "migrate", env=environment(other), stdout=asyncio.subprocess.DEVNULL
        )
        assert await migrating.wait() == 0
        assert await command(other) == (0, "no job is waiting\n")
        assert await command(other, "retry", "--all") == (0, "no job is parked\n")
    finally:
        await owner.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await owner.close()


async def test_whatever_kind_of_job_is_parked_it_is_known_how_long_it_is_kept() -> None:
    """In a process that has nothing but the command: which kinds there are is told by who declares them."""
    asked = "import app.jobs_cli; from domain.parked import kept; print(kept('mail.send'), kept('other'))"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", asked, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    assert said.decode().strip() == "3 days, 0:00:00 14 days, 0:00:00"
