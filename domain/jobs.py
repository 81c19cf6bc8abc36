"""Jobs: work that may wait, and periodic work.

A job is a row that is written in the transaction that wants it: rolled back, there is none; committed, it is
done at least once. A kind of job is declared where its payload belongs, and handled there or in the shell:

    CLOSE = jobs.Job("teams.close", Closing)               # domain/teams/…
    await jobs.enqueue(CLOSE, Closing(team_id))            # in a verb, inside `async with transaction()`

    @CLOSE.handler                                         # beside it, or in app/
    async def close(closing: Closing) -> None: ...

At least once, not exactly: a worker may die after the work and before it has said so. **Handlers are
idempotent**, and any two runs of one job may overlap. What fails is tried again after a random wait (full
jitter: from nothing up to a bound that doubles), and parked after the last try, with its error.
"""

import logging
import random
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import PurePath
from typing import Any, Final, Generic, TypeVar

import msgspec

from domain import behalf, crypto, db, job_store, tracing
from domain.job_store import Row

P = TypeVar("P", bound=msgspec.Struct)

log = logging.getLogger("maycole.jobs")

PAYLOAD_BYTES_MAX: Final = 64 * 1024
ERROR_CHARS_MAX: Final = 500
DOUBLINGS_MAX: Final = 30
REQUEST_ID: Final = "request_id"
DECLARED: dict[str, "Job[Any]"] = {}
CRONS: dict[str, timedelta] = {}


class GiveUp(Exception):
    """Raised by a handler whose work can never succeed: the job is parked at once."""


class Job(Generic[P]):
    """A kind of job.

    With the defaults a job is tried 12 times within about half an hour. `within_s` bounds one run. What a
    `secret` kind is told is sealed in the database, and of its errors only type and line are kept.
    """

    def __init__(
        self,
        name: str,
        payload: type[P],
        *,
        tries: int = 12,
        first_wait_s: float = 2.0,
        longest_wait_s: float = 3600.0,
        within_s: float = 60.0,
        secret: bool = False,
    ) -> None:
        if name in DECLARED:
            raise ValueError(f"there is a job {name} already")
        self.name = name
        self.tries = tries
        self.within_s = within_s
        self.secret = secret
        self._payload = payload
        self._waits_s = (first_wait_s, longest_wait_s)
        self._handle: Callable[[P], Awaitable[None]] | None = None
        DECLARED[name] = self

    @property
    def is_handled(self) -> bool:
        return self._handle is not None

    def handler(self, handle: Callable[[P], Awaitable[None]]) -> Callable[[P], Awaitable[None]]:
        """Let this function do it."""
        if self._handle is not None:
            raise ValueError(f"the job {self.name} has a handler already")
        self._handle = handle
        return handle

    def write(self, payload: P) -> bytes:
        """The payload as it is kept. Raises ValueError where it is too large."""
        written = msgspec.json.encode(payload)
        if self.secret:
            written = crypto.sealed(place(self.name), written).encode()
        if len(written) > PAYLOAD_BYTES_MAX:
            raise ValueError(
                f"the payload of {self.name} has {len(written)} bytes: keep it, and enqueue its id"
            )
        return written

    async def run(self, written: bytes) -> None:
        """Do it once. Raises what the handler raises, and GiveUp where the payload cannot be read."""
        assert self._handle is not None, "a worker takes only what is handled"
        try:
            plain = crypto.opened(place(self.name), written.decode()) if self.secret else written
            payload = msgspec.json.decode(plain, type=self._payload)
        except crypto.UnknownKey:
            raise  # while keys are rotated, others have the new one first: tried again
        except (crypto.Unopenable, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise GiveUp(f"the payload cannot be read: {type(error).__name__}") from error
        await self._handle(payload)

    def wait(self, tries: int) -> timedelta:
        """How long to wait after so many failed tries: what failed together does not come back together."""
        first_s, longest_s = self._waits_s
        bound_s = min(longest_s, first_s * 2 ** min(tries - 1, DOUBLINGS_MAX))
        return timedelta(seconds=random.uniform(0, bound_s))  # noqa: S311 - nobody gains by guessing it

    def describe(self, error: BaseException) -> str:
        """One line of what went wrong, for the log and for whoever looks at parked jobs."""
        frames = traceback.extract_tb(error.__traceback__)
        where = f" ({PurePath(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
        text = "".join(c if c.isprintable() else " " for c in str(error))  # Postgres keeps no NUL
        said = "" if self.secret else f": {' '.join(text.split())}"
        return f"{type(error).__name__}{said[:ERROR_CHARS_MAX]}{where}"


def place(name: str) -> str:
    """Where payloads of this kind are, for domain/crypto.py."""
    return f"jobs/{name}"


async def enqueue(
    job: Job[P], payload: P, *, after: timedelta | None = None, dedupe_key: str | None = None
) -> int | None:
    """Have this done once the current transaction has committed, `after` a while if so given; the job's id.

    With a `dedupe_key`, nothing is added (None) while a job of this kind and key waits or runs: what changes
    during that run is not news to it. Raises RuntimeError outside a transaction.
    """
    db.current()
    key = None if dedupe_key is None else f"{job.name}:{dedupe_key}"
    said = {REQUEST_ID: behalf.request_id(), tracing.TRACEPARENT: tracing.traceparent()}
    on_behalf = {name: value for name, value in said.items() if value is not None}
    return await job_store.add(job.name, job.write(payload), after, key, on_behalf)


@contextmanager
def on_behalf(row: Row) -> Iterator[None]:
    """Work on behalf of the request that enqueued it: its id, and its trace if it was traced."""
    said = {name: str(value) for name, value in (row.headers or {}).items()}
    with (
        behalf.working_for(said.get(REQUEST_ID)),
        tracing.span(f"job {row.entrypoint}", said.get(tracing.TRACEPARENT)),
    ):
        yield


class Tick(msgspec.Struct, frozen=True):
    """What periodic work is told: nothing."""


def cron(
    name: str, *, every: timedelta, tries: int = 3, within_s: float = 60.0
) -> Callable[[Callable[[], Awaitable[None]]], Callable[[], Awaitable[None]]]:
    """Have the function that follows run `every` so often, once among all workers, the first time at once.

    Each run is a job of this name. While one is late or fails there is no second one, and what was missed
    while no worker ran is done once.
    """

    def declare(work: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        job = Job(name, Tick, tries=tries, within_s=within_s, longest_wait_s=every.total_seconds())

        @job.handler
        async def handle(tick: Tick) -> None:
            await work()

        CRONS[name] = every
        return work

    return declare


async def enqueue_due() -> float:
    """Enqueue the periodic work that is due; seconds until more of it is.

    The row of a schedule is moved on in the transaction that enqueues: of several workers one does both.
    """
    rows = await db.fetch(
        """SELECT entrypoint, extract(epoch FROM next_run - now())::float8 AS in_s FROM pgqueuer_schedules
           WHERE expression = 'every' AND entrypoint = ANY($1)""",
        list(CRONS),
    )
    due_in_s = dict.fromkeys(CRONS, 0.0) | {row["entrypoint"]: row["in_s"] for row in rows}
    for name, in_s in due_in_s.items():
        if in_s <= 0:
            due_in_s[name] = await _enqueue_if_due(name, CRONS[name])
    return max(0.0, min(due_in_s.values(), default=float("inf")))


async def _enqueue_if_due(name: str, every: timedelta) -> float:
    async with db.transaction() as unit:
        await unit.connection.execute(
            """INSERT INTO pgqueuer_schedules (expression, entrypoint) VALUES ('every', $1)
               ON CONFLICT (expression, entrypoint) DO NOTHING""",
            name,
        )
        moved = await unit.connection.fetchval(
            """UPDATE pgqueuer_schedules
               SET last_run = now(), updated = now(), next_run = next_run + $2::interval *
                   (1 + floor(extract(epoch FROM now() - next_run) / extract(epoch FROM $2::interval)))
               WHERE expression = 'every' AND entrypoint = $1 AND next_run <= now()
               RETURNING extract(epoch FROM next_run - now())::float8""",
            name,
            every,
        )
        if moved is None:
            return every.total_seconds()  # another worker was first
        await enqueue(DECLARED[name], Tick(), dedupe_key="")
    return float(moved)


def handled() -> list[str]:
    """The names of all kinds. Raises RuntimeError where one has no handler in this process."""
    missing = [job.name for job in DECLARED.values() if not job.is_handled]
    if missing:
        raise RuntimeError(f"nobody handles {', '.join(missing)}: import the module that does")
    return list(DECLARED)


def is_last(job: Job[Any], row: Row) -> bool:
    """Whether this is the last time that it is tried."""
    return row.attempts + 1 >= job.tries


@cron("jobs.tidy", every=timedelta(hours=1))
async def tidy() -> None:
    """Keep the log of what was done from growing for ever."""
    forgotten = 0
    while some := await job_store.tidy():
        forgotten += some
    if forgotten:
        log.info("forgot %d lines on jobs of more than %d days ago", forgotten, job_store.KEPT_DAYS)
