"""Workers that are killed, stopped, and robbed of their Postgres: every job is done all the same."""

import asyncio
import contextlib
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import msgspec
import pytest
from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
from pgqueuer.adapters.persistence.queries import Queries

from app import secrets
from app.config import Config
from app.embedded import Embedded
from domain import ids, mail
from tests.mailbox import Mailbox
from tests.processes import MAYCOLE, Reader, environment, running

ROOT = Path(__file__).parents[2]
WITHIN_S = 60
LEASE_S = 2.0
KILLS = 5
PIECES = 150


class Workers:
    """Worker processes on one database, and the lines their jobs leave."""

    def __init__(self, config: Config, folder: Path) -> None:
        assert config.database_url is not None
        self.url = config.database_url
        self.folder = folder
        self.all: list[asyncio.subprocess.Process] = []

    async def start(self, *, lease_s: float = LEASE_S, grace_s: float = 10.0) -> Reader:
        """One more; what it logs is read together with what it says."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.working",
            json.dumps({"url": self.url, "folder": str(self.folder), "lease_s": lease_s, "grace_s": grace_s}),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        self.all.append(process)
        reader = Reader(process)
        await reader.until("^working$")
        return reader

    def lines(self, name: str) -> list[tuple[int, int]]:
        """The piece and the process of each line."""
        path = self.folder / name
        if not path.exists():
            return []
        return [(int(n), int(pid)) for n, pid in map(str.split, path.read_text().splitlines())]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(WITHIN_S):
            while not condition():
                await asyncio.sleep(0.02)

    async def until_empty(self) -> None:
        async with self.database() as connection, asyncio.timeout(WITHIN_S):
            while await connection.fetchval("SELECT count(*) FROM pgqueuer"):
                await asyncio.sleep(0.05)

    @contextlib.asynccontextmanager
    async def database(self) -> AsyncIterator[asyncpg.Connection]:
        connection = await asyncpg.connect(self.url)
        try:
            yield connection
        finally:
            await connection.close()

    async def enqueue(self, name: str, *payloads: bytes) -> None:
        async with self.database() as connection:
            await Queries(AsyncpgDriver(connection)).enqueue(
                [name] * len(payloads), list(payloads), [0] * len(payloads)
            )

    async def pieces(self, *numbers: int, hold: bool = False) -> None:
        await self.enqueue("working.piece", *(json.dumps({"n": n, "hold": hold}).encode() for n in numbers))


@pytest.fixture
async def workers(own_config: Config, tmp_path: Path) -> AsyncIterator[Workers]:
    made = Workers(own_config, tmp_path)
    try:
        yield made
    finally:
        for process in made.all:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def test_two_workers_share_the_work_and_do_none_of_it_twice(workers: Workers) -> None:
    await workers.start(lease_s=20)
    await workers.start(lease_s=20)
    await workers.pieces(*range(PIECES))
    await workers.until_empty()
    done = workers.lines("done")
    assert sorted(n for n, _ in done) == list(range(PIECES))
    assert {pid for _, pid in done} == {process.pid for process in workers.all}
    # Periodic work as well: one of them ran it.
    assert len(workers.lines("ticks")) == 1
    for turn in (2, 3, 4):
        async with workers.database() as connection:
            await connection.execute("UPDATE pgqueuer_schedules SET next_run = now()")
            await connection.execute("SELECT pg_notify('ch_pgqueuer', '')")
        await workers.until(lambda turn=turn: len(workers.lines("ticks")) >= turn)  # type: ignore[misc]
        await workers.until_empty()
        assert len(workers.lines("ticks")) == turn


async def test_workers_that_are_killed_in_the_midst_of_jobs_lose_none(workers: Workers) -> None:
    running = {worker.process.pid: worker for worker in [await workers.start() for _ in range(2)]}
    pieces = range(PIECES + KILLS)
    await workers.pieces(*pieces[:PIECES])
    for held in pieces[PIECES:]:
        # Whoever holds this piece is in the midst of it, whatever else it is doing.
        await workers.pieces(held, hold=True)
        await workers.until(lambda held=held: held in dict(workers.lines("began")))  # type: ignore[misc]
        victim = running.pop(dict(workers.lines("began"))[held])
        victim.process.kill()
        await victim.process.wait()
        another = await workers.start()
        running[another.process.pid] = another
    (workers.folder / "go").touch()
    await workers.until_empty()
    times = Counter(n for n, _ in workers.lines("done"))
    broken_off = len(workers.lines("began")) - times.total()
    print(
        f"\n{KILLS} kills: {broken_off} jobs broken off, {times.total() - len(times)} done twice, 0 lost",
        end="",
    )
    assert set(times) == set(pieces)
    assert broken_off >= KILLS, "a kill that hits no job shows nothing"


async def test_a_worker_that_is_told_to_stop_finishes_what_it_holds_and_takes_nothing_more(
    workers: Workers,
) -> None:
    worker = await workers.start()
    await workers.pieces(1, hold=True)
    await workers.until(lambda: len(workers.lines("began")) == 1)
    worker.process.terminate()
    await worker.until("^stopping$")
    await workers.pieces(2)
    (workers.folder / "go").touch()
    assert await worker.process.wait() == 0
    assert [n for n, _ in workers.lines("done")] == [1]
    other = await workers.start()
    await workers.until_empty()
    assert workers.lines("done")[-1] == (2, other.process.pid)


async def test_what_a_stopping_worker_cannot_finish_goes_back_at_once_and_uncounted(workers: Workers) -> None:
    worker = await workers.start(lease_s=3600, grace_s=0.2)
    await workers.pieces(1, hold=True)
    await workers.until(lambda: len(workers.lines("began")) == 1)
    worker.process.terminate()
    assert await worker.process.wait() == 0
    async with workers.database() as connection:
        row = await connection.fetchrow("SELECT status::text, attempts FROM pgqueuer")
        assert row is not None
        assert tuple(row) == ("queued", 0)
    (workers.folder / "go").touch()
    other = await workers.start(lease_s=3600)
    await workers.until_empty()
    assert workers.lines("done") == [(1, other.process.pid)]


async def test_postgres_may_go_away_and_come_back_in_the_midst_of_a_job(
    workers: Workers, own_servers: Embedded
) -> None:
    worker = await workers.start(lease_s=20)
    await workers.pieces(1, hold=True)
    await workers.until(lambda: len(workers.lines("began")) == 1)
    assert own_servers.postgres is not None
    own_servers.postgres.stop()
    await worker.until("cannot hear of new jobs now")
    await worker.until("cannot take jobs now")
    (workers.folder / "go").touch()
    await worker.until("cannot write down what became of a job now")
    own_servers.postgres.start()
    await workers.pieces(2)
    await workers.until_empty()
    assert workers.lines("done") == [(1, worker.process.pid), (2, worker.process.pid)]
    assert len(workers.lines("began")) == 2


async def test_jobs_are_done_under_up_and_not_under_serve(workers: Workers, own_config: Config) -> None:
    """Whoever works enqueues the periodic work at once."""
    async with workers.database() as connection:
        due = "SELECT array_agg(entrypoint) FROM pgqueuer_schedules"
        async with running(own_config) as served:
            assert await connection.fetchval(due) is None
            await served.stop()
        assert await connection.fetchval(due) is None
        process = await asyncio.create_subprocess_exec(
            MAYCOLE, "up", stdout=asyncio.subprocess.PIPE, env=environment(own_config)
        )
        workers.all.append(process)
        await Reader(process).until("Maycole serves on")
        async with asyncio.timeout(WITHIN_S):
            while "jobs.tidy" not in (await connection.fetchval(due) or []):
                await asyncio.sleep(0.05)
        await workers.until_empty()
        process.terminate()
        await process.wait()


async def test_the_command_sends_mail_and_stops_in_good_order(
    workers: Workers, own_config: Config, tmp_path: Path
) -> None:
    config = msgspec.structs.replace(own_config, data_dir=tmp_path / "data")
    process = await asyncio.create_subprocess_exec(
        MAYCOLE, "worker", stdout=asyncio.subprocess.PIPE, env=environment(config)
    )
    workers.all.append(process)
    said = Reader(process)
    await said.until("^working$")
    secrets.install(config)
    letter = mail.Letter(
        id=ids.new("mail"),
        at=datetime.now(UTC),
        to="ann@example.org",
        kind="reset_password",
        context={"name": "Ann", "link": "https://app.example/reset"},
    )
    await workers.enqueue(mail.SEND.name, mail.SEND.write(letter))
    assert await Mailbox(tmp_path / "data" / "mail").link("ann@example.org") == "https://app.example/reset"
    process.terminate()
    await said.until("^stopped$")
    assert await process.wait() == 0
