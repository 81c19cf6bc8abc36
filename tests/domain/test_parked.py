"""Parked jobs that nobody tries again are dropped after a while, secret ones sooner; nothing else is."""

import logging
import secrets
from collections.abc import Iterator
from datetime import timedelta

import msgspec
import pytest

from domain import db, job_store, jobs, parked

HOUR = timedelta(hours=1)


class Word(msgspec.Struct, frozen=True):
    word: str


PLAIN = jobs.Job("test.parked", Word)
SECRET = jobs.Job("test.parked_secret", Word, secret=True)


@PLAIN.handler
@SECRET.handler
async def never(given: Word) -> None:
    raise AssertionError("nothing here is ever due")


@pytest.fixture(autouse=True)
def days() -> Iterator[None]:
    """As many as by default, also after a test that wants others."""
    yield
    parked.install(kept_days=parked.KEPT_DAYS)


async def job(kind: jobs.Job[Word], status: str, ago: timedelta) -> int:
    """A job that has been in this state for so long."""
    async with db.transaction():
        job_id = await jobs.enqueue(kind, Word(secrets.token_hex(6)), after=timedelta(days=365))
    assert job_id is not None
    await db.execute(
        "UPDATE pgqueuer SET status = $2::pgqueuer_status, updated = now() - $3::interval WHERE id = $1",
        job_id,
        status,
        ago,
    )
    return job_id


async def left(*ids: int) -> set[int]:
    rows = await db.fetch("SELECT id FROM pgqueuer WHERE id = ANY($1)", ids)
    return {row["id"] for row in rows}


async def test_what_was_parked_for_too_long_is_dropped_and_said(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    long, secret_long = timedelta(days=parked.KEPT_DAYS), parked.SECRET_KEPT
    old, old_secret = await job(PLAIN, "failed", long + HOUR), await job(SECRET, "failed", secret_long + HOUR)
    kept = [
        await job(PLAIN, "failed", long - HOUR),
        await job(SECRET, "failed", secret_long - HOUR),
        await job(PLAIN, "queued", long * 2),
        await job(SECRET, "queued", long * 2),
    ]
    with caplog.at_level(logging.WARNING, "maycole.jobs"):
        await parked.drop()
    assert await left(old, old_secret, *kept) == set(kept)
    for job_id, kind in ((old, PLAIN), (old_secret, SECRET)):
        said = f"parked jobs {kind.name}, which nobody has tried again: "
        assert any(
            said in line and str(job_id) in line.partition(said)[2].split(", ") for line in caplog.messages
        )
        assert (
            await db.fetchval(
                "SELECT count(*) FROM pgqueuer_log WHERE job_id = $1 AND status = 'deleted'", job_id
            )
            == 1
        )
    assert await job_store.retry(old) == "not parked"
    await db.execute("DELETE FROM pgqueuer WHERE id = ANY($1)", kept)


async def test_the_operator_says_for_how_long_and_secrets_are_never_kept_longer(url: str) -> None:
    parked.install(kept_days=1)
    assert parked.kept(PLAIN.name) == parked.kept(SECRET.name) == timedelta(days=1)
    parked.install(kept_days=30)
    assert (parked.kept(PLAIN.name), parked.kept(SECRET.name)) == (timedelta(days=30), parked.SECRET_KEPT)
    kept = await job(PLAIN, "failed", timedelta(days=29))
    dropped = await job(PLAIN, "failed", timedelta(days=31))
    await parked.drop()
    assert await left(kept, dropped) == {kept}
    await db.execute("DELETE FROM pgqueuer WHERE id = $1", kept)
