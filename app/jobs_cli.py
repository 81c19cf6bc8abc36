"""`maycole jobs`: what waits, what is parked and why, and trying that again."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

import app.equipment  # noqa: F401 - with it comes every kind of job: some are kept for less than others
from app.config import Config
from app.failed import CommandFailed
from domain import db, job_store
from domain import parked as parked_
from domain.clock import now
from domain.job_store import Count, Parked

Say = Callable[[str], None]


class NotRetried(CommandFailed):
    """Which jobs were not put back, and why."""


def show(config: Config, *, say: Say) -> None:
    """Counts by name and state, then the parked ones. Raises OSError, asyncpg.PostgresError."""
    assert config.database_url is not None, "it was needed"
    parked_.install(kept_days=config.jobs_parked_days)

    async def look() -> None:
        counts, parked = await job_store.counts(), await job_store.parked()
        for line in [*_table(counts), *_parked(parked)]:
            say(line)

    asyncio.run(with_database(config.database_url, look))


def retry(url: str, ids: Sequence[int], *, everything: bool, say: Say) -> None:
    """Try parked jobs anew. Raises NotRetried, naming those that could not be, after all others."""

    async def put_back() -> None:
        chosen = await job_store.all_parked() if everything else ids
        said = {job_id: await job_store.retry(job_id) for job_id in chosen}
        for job_id, what in said.items():
            if what == "queued":
                say(f"job {job_id} is queued again")
        if everything and not chosen:
            say("no job is parked")
        if left := [f"job {job_id}: {what}" for job_id, what in said.items() if what != "queued"]:
            raise NotRetried("\n".join(left))

    asyncio.run(with_database(url, put_back))


async def with_database(
    url: str, work: Callable[[], Awaitable[None]], *, within_s: int | None = None
) -> None:
    """Work with the database; with `within_s`, a statement may take so long."""
    await db.open_pool(url, size=2, within_s=within_s)
    try:
        await work()
    finally:
        await db.close_pool()


def _table(counts: Sequence[Count]) -> list[str]:
    if not counts:
        return ["no job is waiting"]
    width = max(len("job"), *(len(count.name) for count in counts))
    return [
        f"{'job':{width}}  {'state':8}  {'count':>7}  oldest",
        *(
            f"{count.name:{width}}  {count.state:8}  {count.count:7}  {_ago(count.oldest)}"
            for count in counts
        ),
    ]


def _parked(parked: Sequence[Parked]) -> list[str]:
    if not parked:
        return []
    return [
        "",
        "parked, until `maycole jobs retry ID` or `maycole jobs retry --all`, or until dropped:",
        *(
            f"{one.id:>8}  {one.name}, {one.tries} tries, {_ago(one.parked_at)}, {_dropped(one)}: {one.error}"
            for one in parked
        ),
    ]


def _dropped(one: Parked) -> str:
    left = one.parked_at + parked_.kept(one.name) - now()
    return f"dropped in {_long(left)}" if left > timedelta() else "dropped within the hour"


def _ago(at: datetime) -> str:
    return f"{_long(max(now() - at, timedelta()))} ago"


def _long(time: timedelta) -> str:
    for unit, name in ((timedelta(days=1), "days"), (timedelta(hours=1), "h"), (timedelta(minutes=1), "min")):
        if time >= unit:
            return f"{time // unit} {name}"
    return f"{time.seconds} s"
