"""The rows of background jobs: what is said to PgQueuer's tables (domain/jobs.py is what the product uses).

PgQueuer's statements where it has them, ours beside. All run in the transaction that is under way, or on the
pool outside of one. A job is `queued`, then `picked` by a worker, then gone; or `failed`, which is parked:
kept with its error until somebody says `maycole jobs retry`, or it is dropped (domain/parked.py).
"""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, Literal, cast

import asyncpg
import msgspec
from pgqueuer.adapters.persistence.qb import (
    QueryBuilderEnvironment,
    QueryQueueBuilder,
    QuerySchedulerBuilder,
)
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.domain.models import Job, TracebackRecord
from pgqueuer.domain.settings import DBSettings, Durability
from pgqueuer.domain.types import Channel, JobId, QueueEntrypoint, QueueManagerId
from pgqueuer.ports.driver import Driver
from pgqueuer.ports.repository import EntrypointExecutionParameter

from domain import db
from domain.clock import now

KEPT_DAYS: Final = 14
SHOWN_MAX: Final = 1000
DIED: Final = "each time the process that ran it died"
# Every name is given: what is left out would be taken from the environment (CHANNEL, FUNCTION, TRIGGER, …).
SETTINGS: Final = DBSettings(
    prefix="",
    db_schema=None,
    channel=Channel("ch_pgqueuer"),
    function="fn_pgqueuer_changed",
    statistics_table="pgqueuer_statistics",
    queue_status_type="pgqueuer_status",
    queue_table="pgqueuer",
    queue_table_log="pgqueuer_log",
    trigger="tg_pgqueuer_changed",
    schedules_table="pgqueuer_schedules",
    durability=Durability.durable,
    widen_id=True,
)


Row = Job  # a kind of job is a Job here, and a job of theirs a row


class _Database:
    """What PgQueuer's statements go through: the current transaction, or the pool outside of one."""

    async def fetch(self, query: str, *args: object) -> list[dict[str, object]]:
        return [dict(row) for row in await db.fetch(query, *args)]

    async def execute(self, query: str, *args: object) -> str:
        return await db.execute(query, *args)


queries: Final = Queries(
    cast(Driver, _Database()),  # listening, the rest of a Driver, is the worker's
    qbe=QueryBuilderEnvironment(SETTINGS),
    qbq=QueryQueueBuilder(SETTINGS),
    qbs=QuerySchedulerBuilder(SETTINGS),
)


class Count(msgspec.Struct, frozen=True):
    """How many jobs of one name are in one state, and since when the oldest."""

    name: str
    state: str
    count: int
    oldest: datetime


class Parked(msgspec.Struct, frozen=True):
    """A job that nobody will try again by themselves."""

    id: int
    name: str
    tries: int
    parked_at: datetime
    error: str


class Payload(msgspec.Struct, frozen=True):
    """What a job is told, as it is kept."""

    id: int
    entrypoint: str
    payload: bytes


Again = Literal["queued", "not parked", "one with its key is waiting already"]


async def add(
    name: str,
    payload: bytes,
    after: timedelta | None,
    key: str | None,
    on_behalf: dict[str, str] | None = None,
) -> int | None:
    """The id of the new job; None where one with this key is waiting or being done."""
    [job_id] = await queries.enqueue(
        name, payload, execute_after=after, dedupe_key=key, headers=on_behalf or {}, on_conflict="skip"
    )
    return job_id


async def claim(worker: uuid.UUID, names: Sequence[str], *, most: int, lease: timedelta) -> list[Row]:
    """Up to `most` jobs that are due, for this worker alone, for as long as it beats within the lease."""
    # A worker that died counts as a try, or a job that kills its worker would go on doing so for ever.
    await db.execute(
        """UPDATE pgqueuer SET status = 'queued', attempts = attempts + 1, queue_manager_id = NULL,
                  updated = now()
           WHERE status = 'picked' AND heartbeat < now() - $1::interval AND entrypoint = ANY($2)""",
        lease,
        names,
    )
    return await queries.dequeue(
        batch_size=most,
        entrypoints={QueueEntrypoint(name): EntrypointExecutionParameter(0) for name in names},
        queue_manager_id=QueueManagerId(worker),
        global_concurrency_limit=None,
        heartbeat_timeout=lease,
    )


async def due_in_s(names: Sequence[str]) -> float | None:
    """Seconds until the next job that is to wait has waited; None if there is none."""
    eta = await queries.next_deferred_eta([QueueEntrypoint(name) for name in names])
    return None if eta is None else eta.total_seconds()


async def beat(ids: Sequence[int]) -> None:
    """Say that these are still being worked on."""
    await queries.update_heartbeat([JobId(job_id) for job_id in ids])


async def done(row: Row) -> None:
    """It is done, whoever else may have begun it meanwhile."""
    await queries.log_jobs([(row, "successful", None)])


async def again(row: Row, error: str, wait: timedelta) -> None:
    """It failed and is to be tried again, unless it was taken from this worker meanwhile."""
    async with db.transaction():
        if await _still_ours(row):
            await queries.retry_job(row, wait, _record(row, error))


async def park(row: Row, error: str) -> None:
    """It failed for good, unless it was taken from this worker meanwhile."""
    async with db.transaction():
        if await _still_ours(row):
            await queries.log_jobs([(row, "failed", _record(row, error))])


async def give_back(worker: uuid.UUID) -> None:
    """What this worker holds is for others, at once; it does not count as a try."""
    await db.execute(
        """UPDATE pgqueuer SET status = 'queued', queue_manager_id = NULL, updated = now()
           WHERE status = 'picked' AND queue_manager_id = $1""",
        worker,
    )
    await ring()


async def ring() -> None:
    """Wake the workers: PgQueuer's own trigger says nothing of a changed row."""
    await db.execute("SELECT pg_notify($1, '')", SETTINGS.channel)


async def counts() -> list[Count]:
    """What is there, by name and state; a job that waits for its time is `waiting`."""
    rows = await db.fetch(
        """SELECT entrypoint AS name, count(*) AS count, min(created) AS oldest,
                  CASE WHEN status = 'queued' AND execute_after > now() THEN 'waiting'
                       WHEN status = 'picked' THEN 'running'
                       WHEN status = 'failed' THEN 'parked'
                       ELSE status::text END AS state
           FROM pgqueuer GROUP BY 1, 4 ORDER BY 1, 4"""
    )
    return [db.as_struct(Count, row) for row in rows]


async def oldest_due_s() -> float:
    """For how many seconds the oldest job that may be done has waited for a worker; 0 where none waits."""
    return float(
        await db.fetchval(
            """SELECT coalesce(extract(epoch FROM now() - min(greatest(created, execute_after))), 0)::float8
               FROM pgqueuer WHERE status = 'queued' AND execute_after <= now()"""
        )
    )


async def parked(limit: int = SHOWN_MAX) -> list[Parked]:
    """The newest parked jobs, oldest first, each with its last error."""
    rows = await db.fetch(
        """SELECT q.id, q.entrypoint AS name, q.attempts + 1 AS tries, q.updated AS parked_at,
                  coalesce(l.traceback ->> 'exception_message', '') AS error
           FROM (SELECT * FROM pgqueuer WHERE status = 'failed' ORDER BY id DESC LIMIT $1) q
           LEFT JOIN LATERAL (SELECT traceback FROM pgqueuer_log WHERE job_id = q.id AND status = 'failed'
                              ORDER BY created DESC, id DESC LIMIT 1) l ON true
           ORDER BY q.id""",
        limit,
    )
    return [db.as_struct(Parked, row) for row in rows]


async def all_parked() -> list[int]:
    """The ids of all parked jobs, oldest first."""
    rows = await db.fetch("SELECT id FROM pgqueuer WHERE status = 'failed' ORDER BY id")
    return [row["id"] for row in rows]


async def retry(job_id: int) -> Again:
    """Try a parked job anew, with all its tries before it."""
    try:
        async with db.transaction():
            if await db.fetchval(
                "SELECT id FROM pgqueuer WHERE id = $1 AND status = 'failed' FOR UPDATE", job_id
            ):
                await queries.requeue_jobs([JobId(job_id)])
                await ring()
                return "queued"
    except asyncpg.UniqueViolationError:
        return "one with its key is waiting already"
    return "not parked"


async def payloads(names: Sequence[str], *, after: int, most: int) -> list[Payload]:
    """What the jobs of these names are told, whatever their state, by their ids."""
    rows = await db.fetch(
        """SELECT id, entrypoint, payload FROM pgqueuer
           WHERE id > $2 AND entrypoint = ANY($1) AND payload IS NOT NULL ORDER BY id LIMIT $3""",
        list(names),
        after,
        most,
    )
    return [db.as_struct(Payload, row) for row in rows]


async def replace_payload(job_id: int, old: bytes, new: bytes) -> bool:
    """Write what says the same; whether the job was there still, and told what it was."""
    tag = await db.execute(
        "UPDATE pgqueuer SET payload = $3 WHERE id = $1 AND payload = $2", job_id, old, new
    )
    return tag == "UPDATE 1"


async def tidy() -> int:
    """Forget the log of jobs that are gone, after KEPT_DAYS; how many rows."""
    tag = await db.execute(
        """DELETE FROM pgqueuer_log WHERE id IN (
               SELECT l.id FROM pgqueuer_log l WHERE l.created < now() - make_interval(days => $1)
               AND NOT EXISTS (SELECT FROM pgqueuer q WHERE q.id = l.job_id) LIMIT 20000)""",
        KEPT_DAYS,
    )
    return int(tag.rpartition(" ")[2])


async def drop_parked(
    secret: Sequence[str], *, secret_kept: timedelta, kept: timedelta, most: int
) -> list[tuple[int, str]]:
    """Drop jobs that have been parked for longer than that, and log it; their ids and names."""
    rows = await db.fetch(
        """WITH dropped AS (
               DELETE FROM pgqueuer WHERE id IN (
                   SELECT id FROM pgqueuer WHERE status = 'failed' AND updated < now() -
                       CASE WHEN entrypoint = ANY($1) THEN $2::interval ELSE $3::interval END
                   ORDER BY id LIMIT $4 FOR UPDATE SKIP LOCKED)
               RETURNING id, entrypoint, priority)
           INSERT INTO pgqueuer_log (job_id, status, priority, entrypoint)
           SELECT id, 'deleted', priority, entrypoint FROM dropped RETURNING job_id, entrypoint""",
        list(secret),
        secret_kept,
        kept,
        most,
    )
    return [(row["job_id"], row["entrypoint"]) for row in rows]


async def _still_ours(row: Row) -> bool:
    return (
        await db.fetchval(
            """SELECT id FROM pgqueuer WHERE id = $1 AND status = 'picked' AND queue_manager_id = $2
               FOR UPDATE""",
            row.id,
            row.queue_manager_id,
        )
        is not None
    )


def _record(row: Row, error: str) -> TracebackRecord:
    return TracebackRecord(
        job_id=row.id,
        timestamp=now(),
        exception_type="",
        exception_message=error,
        traceback="",
        additional_context={"try": row.attempts + 1},
    )
