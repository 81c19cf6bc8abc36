"""A writer in a process of its own, straight against the domain: it may die or change its mind at any moment.

stdin   nothing; argv[1] is a Job as JSON
stdout  for each change {"begin": marker}, and when it is over {"end": marker, "outcome", "at"}

A tenth of its transactions are rolled back at the last moment, after their entries got offsets.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Sequence

import msgspec
import uvloop

from channels.gate import Gate
from channels.relay import Relay
from domain import db, streams
from domain.actor import Actor
from domain.inventory import service as inventory
from domain.inventory.model import Adjustment
from domain.streams import Entry

UNDO_EVERY = 10


class Job(msgspec.Struct):
    """What to write: `changes` of one piece, `at_once` in each transaction, by `tasks` side by side.

    Every `silent_every`th commit is not announced, as if it had died then (0: all are). `die_after` that many
    commits it does die, by its own SIGKILL, before it announces.
    """

    database_url: str
    redis_url: str
    user_id: str
    items: list[str]
    name: str
    changes: int
    at_once: int = 1
    tasks: int = 1
    silent_every: int = 0
    die_after: int = 0
    pause_s: float = 0.0


class ChangedItsMind(Exception):
    """What rolls a transaction back at the last moment."""


class Writer:
    """Carries out a job."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.actor = Actor(user_id=job.user_id)
        self.commits = 0

    async def run(self) -> None:
        job = self.job
        await db.open_pool(job.database_url, size=job.tasks)
        relay = Relay(job.redis_url, Gate().kind_of)

        def committed(entries: Sequence[Entry]) -> None:
            self.commits += 1
            if self.commits == job.die_after:
                os.kill(os.getpid(), signal.SIGKILL)
            if not job.silent_every or self.commits % job.silent_every:
                relay.announce(entries)

        streams.listeners.append(committed)
        publisher = asyncio.create_task(relay.bus.run_publisher())
        await asyncio.gather(*(self._write(number) for number in range(job.tasks)))
        await asyncio.sleep(0.2)  # what is posted leaves within a turn or two; a hint that is late is no news
        publisher.cancel()
        await relay.bus.close()
        await db.close_pool()

    async def _write(self, number: int) -> None:
        job = self.job
        item = job.items[number % len(job.items)]
        for count in range(1, job.changes // job.at_once + 1):
            marker = f"{job.name}-{number}-{count}"
            undo = count % UNDO_EVERY == 0
            say(begin=marker)
            try:
                await self._change(item, marker, undo=undo)
            except ChangedItsMind:
                say(end=marker, outcome="undone", at=time.monotonic())
            except db.UNREACHABLE as error:
                say(end=marker, outcome="unknown", at=time.monotonic(), why=type(error).__name__)
            else:
                say(end=marker, outcome="committed", at=time.monotonic())
            await asyncio.sleep(job.pause_s)

    async def _change(self, item: str, marker: str, *, undo: bool) -> None:
        """One transaction."""

        async def change_its_mind() -> None:
            # Long enough for whoever was told too early to believe it.
            await asyncio.sleep(0.02)
            raise ChangedItsMind

        async with db.transaction() as unit:
            for nth in range(self.job.at_once):
                reason = marker if nth == 0 else f"{marker}+{nth}"
                await inventory.adjust(self.actor, item, Adjustment(delta=1, reason=reason))
            if undo:
                unit.before_commit.append(change_its_mind)


def say(**what: object) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(what) + b"\n")
    sys.stdout.buffer.flush()


def main(job: str) -> None:
    uvloop.run(Writer(msgspec.json.decode(job, type=Job)).run())


if __name__ == "__main__":
    main(sys.argv[1])
