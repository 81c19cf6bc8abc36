"""Three times as many requests as one app can answer: it answers as many as ever, and refuses the others."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import msgspec
import psutil

from app.pipeline.bounds import DEADLINE_S
from tests.bench.harness import Process, cpu_s, running
from tests.faults.field import ROOT, SERVE, Application, Field
from tests.faults.scenario import Outcome, Play, Scale
from tests.faults.trade import Account

TIMES: Final = 3
CONNECTIONS: Final = 1500  # of the rush: more than are ever at work
RECOVERED_WITHIN_S: Final = 5.0
GOODPUT_MIN: Final = 0.7
GROWN_BYTES_MAX: Final = 128 * 1024 * 1024
PATH: Final = "/api/inventory?limit=20"
ITEMS: Final = 20
LEVEL_WITHIN_S: Final = 60.0


async def run(field: Field, scale: Scale, command: Sequence[str] = SERVE) -> Outcome:
    """Meanwhile shops trade, and followers listen.

    Times are printed beside their bars. What fails the scenario is what no slow machine explains: another
    5xx, a 503 that does not say when to come back, a health that does not answer, nothing that is refused,
    a state that stays.
    """
    seconds, alone_s = scale.seconds(60.0, 2.0), scale.seconds(6.0, 1.2)
    people = scale.of(80, 4)
    async with Play(field) as play, _app(field, command) as app:
        await play.open(1, items=ITEMS, watchers=0)
        shop = play.shops[0]
        watcher = shop.owner.follower("on the app that is rushed", url=app.url)
        await play.followers.add(watcher, shop.channel)
        async with _rush(play, app, people) as rush:
            await _alone(rush, alone_s / 3)  # what is done once is done then
            spent = [cpu_s(app.pid)]
            alone = await _alone(rush, alone_s)
            spent.append(cpu_s(app.pid))
            capacity = alone["counts"].get("200", 0) / alone["seconds"]
            before = psutil.Process(app.pid).memory_info().rss
            async with play.trading(writers=1, pause_s=0.3):
                rush.tell(rate=TIMES * capacity, seconds=seconds)
                said = await rush.hear(seconds + LEVEL_WITHIN_S)
                spent.append(cpu_s(app.pid))
                recovery_s = await _recovery(play, app)
            grown = psutil.Process(app.pid).memory_info().rss - before
        verdict = await play.finish()
    counts = said["counts"]
    goodput = counts.get("200", 0) / said["seconds"]
    p99_s = said["times"][round(len(said["times"]) * 0.99) - 1] if said["times"] else float("nan")
    notes = [
        f"{capacity:.0f} answers a second alone, {goodput:.0f} of {TIMES * capacity:.0f} asked for: "
        f"{goodput / capacity:.2f} (bar {GOODPUT_MIN})",
        f"answers {', '.join(f'{status}: {count}' for status, count in sorted(counts.items()))}",
        f"a refusal costs {_refusal(alone['counts'], counts, spent):.2f} of an answer's CPU",
        f"p99 of those answered {p99_s:.2f} s (bar {DEADLINE_S:g})",
        f"live {said['live']}, the slowest {1000 * said['live_s']:.0f} ms",
        f"recovered in {recovery_s:.1f} s (bar {RECOVERED_WITHIN_S:g})",
        f"{grown / 1024 / 1024:.0f} MiB grown (bar {GROWN_BYTES_MAX // 1024 // 1024})",
    ]
    broken = [f"an odd answer: {answer}" for answer in said["odd"]] + play.trade.unlike(200, 409, 503)
    if set(said["live"]) != {"200"}:
        broken.append(f"live answered {said['live']}")
    if not counts.get("200") or not counts.get("503 overloaded"):
        broken.append(f"some must be answered and some refused: {counts}")
    if grown > GROWN_BYTES_MAX:
        broken.append(f"it grew by {grown} bytes")
    return Outcome("overload", f"{TIMES} times capacity for {seconds:g} s", verdict, notes, broken)


@contextlib.asynccontextmanager
async def _app(field: Field, command: Sequence[str]) -> AsyncIterator[Application]:
    """One that runs already, where it is the usual one that is wanted."""
    if command is SERVE:
        yield field.apps[0]
    else:
        async with field.another(command) as app:
            yield app


@contextlib.asynccontextmanager
async def _rush(play: Play, app: Application, people: int) -> AsyncIterator[Process]:
    """Several people, because what one may ask for is limited, each with a list of their own to read."""
    accounts = [await Account.new(play.field, f"Rusher{number}") for number in range(people)]
    given: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": app.port,
        "tokens": [account.person.token for account in [*accounts, play.shops[0].owner]],
        "path": PATH,
        "connections": CONNECTIONS,
    }
    command = (sys.executable, "-m", "tests.faults.rush", msgspec.json.encode(given).decode())
    async with running("the rush", *command, env={"PYTHONPATH": str(ROOT)}) as process:
        await process.hear()
        yield process


async def _alone(rush: Process, seconds: float) -> dict[str, Any]:
    rush.tell(alone=seconds)
    return await rush.hear()


def _refusal(alone: dict[str, int], both: dict[str, int], spent: Sequence[float]) -> float:
    """What one costs, in answers: the CPU of the rush is that of its answers and that of its refusals."""
    an_answer_s = (spent[1] - spent[0]) / max(1, alone.get("200", 0))
    refusals_s = (spent[2] - spent[1]) - both.get("200", 0) * an_answer_s
    refused = sum(count for status, count in both.items() if status != "200")
    return refusals_s / max(1, refused) / max(an_answer_s, 1e-9)


async def _recovery(play: Play, app: Application) -> float:
    """Seconds until it says that it is well, and its followers are level with all that was written."""
    began = time.monotonic()
    await play.field.until_status(app, "ok")
    async with asyncio.timeout(LEVEL_WITHIN_S):
        while await play.level():
            pass
    return time.monotonic() - began
