"""A worker in a process of its own, whose jobs leave a line in a file: to be several, and to be killed.

python -m tests.working '{"url": …, "folder": …, "lease_s": 2, "grace_s": 10}'
"""

import asyncio
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path

import msgspec

from app.worker import Worker
from domain import db, jobs, keys

WORK_S = 0.03


class Piece(msgspec.Struct, frozen=True):
    """One piece of work; one on `hold` waits for the file `go`."""

    n: int
    hold: bool = False


class Setting(msgspec.Struct, frozen=True):
    """What such a process is told."""

    url: str
    folder: str
    lease_s: float
    grace_s: float = 10.0


def main() -> None:
    setting = msgspec.json.decode(sys.argv[1], type=Setting)
    folder = Path(setting.folder)
    piece = jobs.Job("working.piece", Piece)

    def note(name: str, n: int) -> None:
        with (folder / name).open("a") as file:
            file.write(f"{n} {os.getpid()}\n")

    @piece.handler
    async def do(given: Piece) -> None:
        note("began", given.n)
        while given.hold and not (folder / "go").exists():
            await asyncio.sleep(0.02)
        await asyncio.sleep(WORK_S)
        note("done", given.n)

    @jobs.cron("working.tick", every=timedelta(hours=1))
    async def tick() -> None:
        note("ticks", 0)

    asyncio.run(work(setting))


async def work(setting: Setting) -> None:
    keys.install("a secret that no job of these is sealed with")
    await db.open_pool(setting.url, size=4)
    worker = Worker(
        setting.url, lease_s=setting.lease_s, look_every_s=setting.lease_s / 4, grace_s=setting.grace_s
    )

    def stop() -> None:
        worker.stop()
        print("stopping", flush=True)

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)
    print("working", flush=True)
    await worker.run()
    await db.close_pool()


if __name__ == "__main__":
    main()
