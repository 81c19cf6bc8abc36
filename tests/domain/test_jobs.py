"""A job is as certain as the change that wants it: none without a commit, at least one run with it."""

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import asyncpg
import msgspec
import pytest

from domain import db, job_store, jobs

WITHIN_S = 20


class Word(msgspec.Struct, frozen=True):
    word: str


NOTE = jobs.Job("test.note", Word)
FRAGILE = jobs.Job("test.fragile", Word, tries=3, first_wait_s=0.05)
HOPELESS = jobs.Job("test.hopeless", Word)
SLOW = jobs.Job("test.slow", Word, tries=1, within_s=0.05)
CANCELLED = jobs.Job("test.cancelled", Word, tries=1)
HIDDEN = jobs.Job("test.hidden", Word, tries=1, secret=True)
LATE = jobs.Job("test.late", Word)

runs: Counter[str] = Counter()
mended: set[str] = set()


@NOTE.handler
@LATE.handler
async def note(given: Word) -> None:
    runs[given.word] += 1


@FRAGILE.handler
@HIDDEN.handler
async def fail(given: Word) -> None:
    runs[given.word] += 1
    if given.word not in mended:
        raise LookupError(f"there is\nno {given.word}")


@HOPELESS.handler
async def give_up(given: Word) -> None:
    runs[given.word] += 1
    raise jobs.GiveUp("nobody could")


@SLOW.handler
async def sleep(given: Word) -> None:
    await asyncio.sleep(3600)


@CANCELLED.handler
async def lose(given: Word) -> None:
    """What a handler raises whose own task was cancelled by somebody else."""
    raise asyncio.CancelledError


@pytest.fixture
def word(url: str) -> str:
    """A word that no other test uses, with the app and its worker running."""
    return secrets.token_hex(6)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not condition():
            await asyncio.sleep(0.01)


async def parked(job_id: int | None) -> job_store.Parked:
    assert job_id is not None
    async with asyncio.timeout(WITHIN_S):
        while not (found := [one for one in await job_store.parked() if one.id == job_id]):
            await asyncio.sleep(0.01)
    return found[0]


async def enqueue(job: jobs.Job[Word], word: str) -> int | None:
    async with db.transaction():
        return await jobs.enqueue(job, Word(word))


async def test_what_is_committed_is_done_once_and_leaves_the_queue(word: str) -> None:
    job_id = await enqueue(NOTE, word)
    await until(lambda: runs[word] == 1)
    async with asyncio.timeout(WITHIN_S):
        while await db.fetchval("SELECT id FROM pgqueuer WHERE id = $1", job_id):
            await asyncio.sleep(0.01)
    said = await db.fetch("SELECT status::text FROM pgqueuer_log WHERE job_id = $1 ORDER BY id", job_id)
    assert [row["status"] for row in said] == ["queued", "picked", "successful"]
    assert runs[word] == 1


async def test_what_is_rolled_back_is_never_done(word: str) -> None:
    lost: list[int | None] = []

    async def change() -> None:
        async with db.transaction():
            lost.append(await jobs.enqueue(NOTE, Word(f"{word} lost")))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await change()
    await enqueue(NOTE, word)
    await until(lambda: runs[word] == 1)
    assert runs[f"{word} lost"] == 0
    assert None not in lost, "it was enqueued"
    assert await db.fetchval("SELECT count(*) FROM pgqueuer_log WHERE job_id = ANY($1)", lost) == 0


async def test_outside_a_transaction_nothing_can_be_enqueued(word: str) -> None:
    with pytest.raises(RuntimeError, match="inside `async with transaction"):
        await jobs.enqueue(NOTE, Word(word))


async def test_of_one_key_one_job_waits_and_another_kind_has_keys_of_its_own(word: str) -> None:
    later = timedelta(hours=1)
    async with db.transaction():
        first = await jobs.enqueue(LATE, Word(word), after=later, dedupe_key=word)
        assert first is not None
        assert await jobs.enqueue(LATE, Word(word), after=later, dedupe_key=word) is None
        assert await jobs.enqueue(NOTE, Word(word), dedupe_key=word) is not None
    await until(lambda: runs[word] == 1)
    waiting = [count for count in await job_store.counts() if count.name == LATE.name]
    assert [(count.state, count.count) for count in waiting] == [("waiting", 1)]
    await db.execute("DELETE FROM pgqueuer WHERE id = $1", first)


async def test_what_fails_is_tried_again_then_parked_with_its_error_and_retried_when_asked(
    word: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "maycole.worker"):
        job_id = await enqueue(FRAGILE, word)
        found = await parked(job_id)
    assert runs[word] == found.tries == FRAGILE.tries
    assert found.error.startswith(f"LookupError: there is no {word} (test_jobs.py:")
    assert "is parked after 3 tries" in caplog.text

    mended.add(word)
    assert job_id is not None
    assert await job_store.retry(job_id) == "queued"
    await until(lambda: runs[word] == FRAGILE.tries + 1)
    assert await job_store.retry(job_id) == "not parked"


async def test_a_parked_job_does_not_come_back_beside_one_with_its_key(word: str) -> None:
    async with db.transaction():
        old = await jobs.enqueue(HOPELESS, Word(word), dedupe_key=word)
    assert old is not None
    await parked(old)
    async with db.transaction():
        new = await jobs.enqueue(HOPELESS, Word(word), after=timedelta(hours=1), dedupe_key=word)
    assert new is not None, "a parked job is in nobody's way"
    assert await job_store.retry(old) == "one with its key is waiting already"
    await db.execute("DELETE FROM pgqueuer WHERE id = ANY($1)", [old, new])


async def test_what_can_never_succeed_is_parked_at_once(word: str) -> None:
    found = await parked(await enqueue(HOPELESS, word))
    assert (runs[word], found.tries) == (1, 1)
    assert found.error.startswith("GiveUp: nobody could")


async def test_a_payload_that_cannot_be_read_is_parked_at_once(word: str) -> None:
    async with db.transaction():
        job_id = await job_store.add(NOTE.name, b'{"word": 5}', None, None)
    assert (await parked(job_id)).error.startswith("GiveUp: the payload cannot be read: ValidationError")


async def test_a_job_that_takes_too_long_is_cut_off(word: str) -> None:
    assert (await parked(await enqueue(SLOW, word))).error.startswith("TimeoutError")


async def test_a_job_that_is_cancelled_within_has_failed_like_any(word: str) -> None:
    assert (await parked(await enqueue(CANCELLED, word))).error.startswith("CancelledError")


async def test_of_a_secret_kind_nothing_is_readable_in_the_queue_its_log_or_ours(
    word: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        hidden = await parked(await enqueue(HIDDEN, word))
        plain = await parked(await enqueue(FRAGILE, f"plain {word}"))
    for job_id, is_readable in ((hidden.id, False), (plain.id, True)):
        dump = await db.fetchval(
            """SELECT (SELECT convert_from(payload, 'utf8') || q::text FROM pgqueuer q WHERE id = $1)
                      || (SELECT string_agg(l::text, ' ') FROM pgqueuer_log l WHERE job_id = $1)""",
            job_id,
        )
        assert (word in dump) is is_readable
    assert hidden.error.startswith("LookupError (test_jobs.py:")
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("maycole")]
    assert any(str(hidden.id) in line for line in ours)
    assert not [line for line in ours if word in line and "plain" not in line]
    await db.execute("DELETE FROM pgqueuer WHERE id = ANY($1)", [hidden.id, plain.id])


async def test_a_payload_is_small() -> None:
    with pytest.raises(ValueError, match="keep it, and enqueue its id"):
        NOTE.write(Word("x" * jobs.PAYLOAD_BYTES_MAX))


async def test_a_job_whose_worker_always_dies_is_parked_too(word: str) -> None:
    """As its row looks after that: picked by nobody who lives, and tried as often as it may be."""
    async with db.transaction():
        job_id = await jobs.enqueue(NOTE, Word(word), after=timedelta(hours=1))
        await db.execute(
            """UPDATE pgqueuer SET status = 'picked', attempts = $2, heartbeat = now() - interval '1 hour',
                      execute_after = now() WHERE id = $1""",
            job_id,
            NOTE.tries - 1,
        )
    found = await parked(job_id)
    assert found.error == job_store.DIED
    assert runs[word] == 0


def test_waits_are_random_within_a_bound_that_doubles_and_ends() -> None:
    job = jobs.Job("test.waits", Word, first_wait_s=2, longest_wait_s=60)
    job.handler(note)
    for tries, bound_s in ((1, 2), (2, 4), (5, 32), (6, 60), (1000, 60)):
        waits_s = [job.wait(tries).total_seconds() for _ in range(400)]
        assert 0 <= min(waits_s) < bound_s / 10
        assert bound_s * 0.9 < max(waits_s) <= bound_s


def test_a_kind_has_one_name_and_one_handler_and_no_worker_goes_without_one() -> None:
    with pytest.raises(ValueError, match="there is a job"):
        jobs.Job(NOTE.name, Word)
    with pytest.raises(ValueError, match="a handler already"):
        NOTE.handler(note)
    jobs.Job("test.orphan", Word)
    try:
        with pytest.raises(RuntimeError, match=r"nobody handles test\.orphan"):
            jobs.handled()
    finally:
        del jobs.DECLARED["test.orphan"]


async def test_old_lines_of_the_log_are_forgotten_but_not_those_of_parked_jobs(word: str) -> None:
    job_id = await enqueue(HOPELESS, word)
    await parked(job_id)
    gone = -secrets.randbelow(2**40) - 1
    await db.execute(
        """INSERT INTO pgqueuer_log (job_id, status, priority, entrypoint, created)
           SELECT id, 'failed', 0, 'test.gone', now() - interval '15 days' FROM unnest($1::bigint[]) AS id""",
        [gone, job_id],
    )
    assert await job_store.tidy() >= 1
    kept = await db.fetch("SELECT DISTINCT job_id FROM pgqueuer_log WHERE entrypoint = 'test.gone'")
    assert [row["job_id"] for row in kept] == [job_id]
    await db.execute("DELETE FROM pgqueuer WHERE id = $1", job_id)


async def test_the_schema_is_the_one_that_the_installed_pgqueuer_wants(word: str) -> None:
    plan = await job_store.queries.plan_upgrade()
    assert list(plan.statements) == []


def test_names_of_tables_come_from_nobodys_environment() -> None:
    given = job_store.SETTINGS.model_dump(exclude_unset=True)
    assert set(given) == set(type(job_store.SETTINGS).model_fields)


async def test_periodic_work_runs_at_once_and_then_again_when_it_is_due(
    url: str, outside: asyncpg.Connection
) -> None:
    name = f"test.cron-{secrets.token_hex(4)}"

    @jobs.cron(name, every=timedelta(hours=2))
    async def work() -> None:
        runs[name] += 1

    try:
        await job_store.ring()
        await until(lambda: runs[name] == 1)
        # Five hours late: what was missed is done once, and the beat is kept.
        await outside.execute(
            "UPDATE pgqueuer_schedules SET next_run = now() - interval '5 hours' WHERE entrypoint = $1", name
        )
        await job_store.ring()
        await until(lambda: runs[name] == 2)
        in_h = await outside.fetchval(
            "SELECT extract(epoch FROM next_run - last_run) / 3600 FROM pgqueuer_schedules "
            "WHERE entrypoint = $1",
            name,
        )
        assert round(float(in_h), 3) == 1
    finally:
        del jobs.CRONS[name]
        await outside.execute("DELETE FROM pgqueuer_schedules WHERE entrypoint = $1", name)
