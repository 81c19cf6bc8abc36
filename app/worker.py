"""The worker: takes jobs that are due and does them, until it is told to stop.

Any number of workers share the work, in servers under `maycole up` or as `maycole worker`; each job is held
by one of them, which says every few seconds that it still lives. Of a worker that was killed the jobs are
taken by another one after LEASE_S, at the latest LOOK_EVERY_S later, and that counts as a try.

LISTEN has a connection of its own, and is a doorbell only: without it a job waits LOOK_EVERY_S at most. While
Postgres is away, what was done is remembered until it can be written down. PgQueuer's own QueueManager is not
used: docs/decisions/0020-our-own-worker-on-pgqueuers-tables.md.
"""

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Final

import asyncpg

from channels.tasks import end
from domain import bugs, db, job_store, jobs, measures
from domain.job_store import Row

log = logging.getLogger("maycole.worker")

AT_ONCE: Final = 5  # half of a process's connections
LEASE_S: Final = 20.0
LOOK_EVERY_S: Final = 5.0
LOOK_AGAIN_AFTER_S: Final = 0.05
TRY_AGAIN_AFTER_S: Final = 1.0
GRACE_S: Final = 10.0


class Worker:
    """One per process, on the process's pool."""

    def __init__(
        self,
        database_url: str,
        *,
        lease_s: float = LEASE_S,
        look_every_s: float = LOOK_EVERY_S,
        grace_s: float = GRACE_S,
    ) -> None:
        self._database_url = database_url
        self._lease_s = lease_s
        self._look_every_s = look_every_s
        self._grace_s = grace_s
        self._id = uuid.uuid4()
        self._bell = asyncio.Event()
        self._stopping = False
        self._unstarted = False
        self._running: dict[asyncio.Task[None], Row] = {}
        self._broken: BaseException | None = None

    def stop(self) -> None:
        """Take nothing more; run() ends when what is held is done, or given back after the grace."""
        self._stopping = True
        self._bell.set()

    async def run(self) -> None:
        """Until stop(). Raises what no worker should go on after."""
        try:
            async with asyncio.TaskGroup() as group:
                beside = [group.create_task(self._listen()), group.create_task(self._beat())]
                await self._take()
                await self._finish()
                await end(beside)
        finally:
            await end(list(self._running))

    async def _take(self) -> None:
        while not self._stopping:
            self._bell.clear()
            try:
                wait_s = await self._look()
            except db.UNREACHABLE as error:
                log.warning("cannot take jobs now: %s", error or type(error).__name__)
                wait_s = TRY_AGAIN_AFTER_S
            if self._broken is not None:
                raise self._broken
            try:
                await asyncio.wait_for(self._bell.wait(), wait_s)
            except TimeoutError:
                pass  # nobody rang: look by ourselves

    async def _look(self) -> float:
        """Take what is due, as much as there are hands for; seconds until the next look."""
        names = jobs.handled()
        cron_in_s = await jobs.enqueue_due()
        hands = AT_ONCE - len(self._running)
        if hands == 0:
            return min(self._look_every_s, cron_in_s)  # a job that ends rings
        await self._say_alive()
        rows = await job_store.claim(self._id, names, most=hands, lease=timedelta(seconds=self._lease_s))
        if self._stopping:
            # It came while they were claimed: they go back with what is not finished in time.
            self._unstarted = bool(rows)
            return 0.0
        held = {row.id for row in self._running.values()}
        for row in rows:
            if row.id not in held:  # else taken from ourselves, after a silence of ours
                self._start(row)
        if len(rows) == hands:
            # There may be more; and while they were claimed, others may have ended, which did not ring.
            return 0 if len(self._running) < AT_ONCE else min(self._look_every_s, cron_in_s)
        due_in_s = await job_store.due_in_s(names)
        waits_s = [self._look_every_s, cron_in_s] + ([] if due_in_s is None else [due_in_s])
        return max(LOOK_AGAIN_AFTER_S, min(waits_s))

    def _start(self, row: Row) -> None:
        task = asyncio.create_task(self._do(row), name=f"job {row.id}, {row.entrypoint}")
        self._running[task] = row
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        was_full = len(self._running) == AT_ONCE
        del self._running[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._broken = error
        if was_full or self._broken is not None:
            self._bell.set()

    async def _do(self, row: Row) -> None:
        with jobs.on_behalf(row):
            await self._try(jobs.DECLARED[row.entrypoint], row)

    async def _try(self, job: jobs.Job[Any], row: Row) -> None:
        if row.attempts >= job.tries:
            log.error("%s is parked: %s", _named(row), job_store.DIED)
            await _write_down(lambda: job_store.park(row, job_store.DIED))
            measures.count("jobs", row.entrypoint, "parked")
            return
        try:
            async with asyncio.timeout(job.within_s):
                await job.run(row.payload or b"")
        except asyncio.CancelledError as error:
            if _is_cancelled():
                raise  # by us, at the end of the grace
            await self._failed(job, row, error)
        except Exception as error:
            await self._failed(job, row, error)
        else:
            await _write_down(lambda: job_store.done(row))
            measures.count("jobs", row.entrypoint, "done")

    async def _failed(self, job: jobs.Job[Any], row: Row, error: BaseException) -> None:
        said = job.describe(error)
        if isinstance(error, jobs.GiveUp) or jobs.is_last(job, row):
            log.error("%s is parked after %d tries: %s", _named(row), row.attempts + 1, said)
            bugs.report(error, where=f"job {row.entrypoint}")
            await _write_down(lambda: job_store.park(row, said))
            measures.count("jobs", row.entrypoint, "parked")
            return
        wait = job.wait(row.attempts + 1)
        log.warning(
            "%s failed, try %d of %d, again in %.1f s: %s",
            _named(row),
            row.attempts + 1,
            job.tries,
            wait.total_seconds(),
            said,
        )
        await _write_down(lambda: job_store.again(row, said, wait))
        measures.count("jobs", row.entrypoint, "failed")
        self._bell.set()  # the next look knows when it is due

    async def _finish(self) -> None:
        """Let what is held be done, and give back what takes too long."""
        if self._running:
            await asyncio.wait(self._running, timeout=self._grace_s)
        if not self._running and not self._unstarted:
            return
        if self._running:
            log.warning("given back, for others to do: %s", ", ".join(map(_named, self._running.values())))
            await end(list(self._running))
        try:
            await job_store.give_back(self._id)
        except db.UNREACHABLE as error:
            log.warning("not given back, so others take them after %d s: %s", self._lease_s, error)

    async def _beat(self) -> None:
        while True:
            try:
                await self._say_alive()
            except db.UNREACHABLE as error:
                log.warning("cannot say that we live: %s", error or type(error).__name__)
            await asyncio.sleep(self._lease_s / 4)

    async def _say_alive(self) -> None:
        if self._running:
            await job_store.beat([row.id for row in self._running.values()])

    async def _listen(self) -> None:
        while True:
            try:
                await self._hear()
            except db.UNREACHABLE as error:
                log.warning("cannot hear of new jobs now: %s", error or type(error).__name__)
            await asyncio.sleep(TRY_AGAIN_AFTER_S)

    async def _hear(self) -> None:
        connection = await asyncpg.connect(
            self._database_url, timeout=db.CONNECT_WITHIN_S, command_timeout=db.COMMAND_WITHIN_S
        )
        try:
            await connection.add_listener(job_store.SETTINGS.channel, self._ring)
            self._bell.set()  # for what was said before
            while True:
                # A wire that was cut says nothing by itself.
                await asyncio.sleep(self._look_every_s)
                await connection.fetchval("SELECT 1")
        finally:
            connection.terminate()

    def _ring(self, connection: object, pid: int, channel: str, said: str) -> None:
        # PgQueuer's trigger also tells of every job that is gone.
        if not said or '"insert"' in said:
            self._bell.set()


async def _write_down(write: Callable[[], Awaitable[None]]) -> None:
    """Say what became of a job, for as long as it takes until Postgres hears it."""
    while True:
        try:
            return await write()
        except db.UNREACHABLE as error:
            log.warning("cannot write down what became of a job now: %s", error or type(error).__name__)
            await asyncio.sleep(TRY_AGAIN_AFTER_S)


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _named(row: Row) -> str:
    return f"job {row.id}, {row.entrypoint}"
