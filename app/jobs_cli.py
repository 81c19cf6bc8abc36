"""`maycole jobs`: what waits, what is parked and why, and trying that again."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

from domain import db, job_store
from domain.clock import now
from domain.job_store import Count, Parked

Say = Callable[[str], None]


class NotRetried(Exception):
    """Which jobs were not put back, and why."""


def show(url: str, *, say: Say) -> None:
    """Counts by name and state, then the parked ones. Raises OSError, asyncpg.PostgresError."""

    async def look() -> None:
        counts, parked = await job_store.counts(), await job_store.parked()
        for line in [*_table(counts), *_parked(parked)]:
            say(line)

    asyncio.run(with_database(url, look))


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


async def with_database(url: str, work: Callable[[], Awaitable[None]]) -> None:
    await db.open_pool(url, size=2)
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
        "parked, until `maycole jobs retry ID` or `maycole jobs retry --all`:",
        *(
            f"{one.id:>8}  {one.name}, {one.tries} tries, {_ago(one.parked_at)}: {one.error}"
            for one in parked
        ),
    ]


def _ago(at: datetime) -> str:
    past = max(now() - at, timedelta())
    for unit, name in ((timedelta(days=1), "days"), (timedelta(hours=1), "h"), (timedelta(minutes=1), "min")):
        if past >= unit:
            return f"{past // unit} {name} ago"
    return f"{past.seconds} s ago"
