"""Three times as many requests as one app can answer: it answers as many as ever, and refuses the others."""

import asyncio
import contextlib
import math
import statistics
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import msgspec
import psutil

from app.pipeline.bounds import DEADLINE_S
from tests.bench.harness import Process, cpu_s, running
from tests.faults.field import ROOT, SERVE, Application, Field
from tests.faults.scenario import Outcome, Play, Scale
from tests.faults.trade import Account

TIMES: Final = 3
CONNECTIONS: Final = 1500  # of the rush: more than are ever at work
AT_ONCE: Final = 16  # whoever measures what it can do
AT_ONCE_AFTERWARDS: Final = 32  # more than the least that it works on (LEAST): a limit that stays is seen
# Judged in the long tier, where nothing else runs. Goodput is not the fraction that we are proud of: without
# refusals it is next to nothing, and a machine that does something else meanwhile costs less than half.
RECOVERED_WITHIN_S: Final = 5.0
RECOVERED_RATE: Final = 0.5  # of what it could do
GOODPUT_MIN: Final = 0.4
WAITED_MAX_S: Final = (
    DEADLINE_S + 5.0
)  # to be read, rolled back (0.5 s twice) and written, all on a busy machine
GROWN_BYTES_MAX: Final = 128 * 1024 * 1024
PATH: Final = "/api/inventory?limit=20"
ITEMS: Final = 20
LEVEL_WITHIN_S: Final = 60.0

Said = dict[str, Any]  # what tests/faults/rush.py says of one task


async def run(field: Field, scale: Scale, command: Sequence[str] = SERVE) -> Outcome:
    """Meanwhile shops trade, and followers listen.

    What fails it at any size is what no slow machine explains: another 5xx, a 503 that does not say when to
    come back, a health that does not answer, nothing that is refused, a state that stays. The long tier also
    judges times (_late).
    """
    seconds, alone_s = scale.seconds(60.0, 2.0), scale.seconds(6.0, 1.2)
    windows, window_s = scale.of(20, 2), scale.seconds(0.5, 0.2)
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
            before = psutil.Process(app.pid).memory_info().rss
            async with play.trading(writers=1, pause_s=0.3):
                rush.tell(rate=TIMES * _rate(alone), seconds=seconds)
                said = await rush.hear(seconds + LEVEL_WITHIN_S)
                spent.append(cpu_s(app.pid))
                well_s, after = await asyncio.gather(
                    _well(play, app), _afterwards(rush, windows=windows, window_s=window_s)
                )
            grown = psutil.Process(app.pid).memory_info().rss - before
        verdict = await play.finish()
    counts = said["counts"]
    found = Measured.of(alone, said, after)
    notes = [
        *found.notes(),
        f"answers {', '.join(f'{status}: {count}' for status, count in sorted(counts.items()))}",
        f"a refusal costs {_refusal(alone['counts'], counts, spent):.2f} of an answer's CPU",
        f"live {said['live']}, the slowest {1000 * said['live_s']:.0f} ms",
        f"well and level in {well_s:.1f} s",
        f"{grown / 1024 / 1024:.0f} MiB grown (bar {GROWN_BYTES_MAX // 1024 // 1024})",
    ]
    broken = [f"an odd answer: {answer}" for answer in said["odd"]] + play.trade.unlike(200, 409, 503)
    if set(said["live"]) != {"200"}:
        broken.append(f"live answered {said['live']}")
    if not counts.get("200") or not counts.get("503 overloaded"):
        broken.append(f"some must be answered and some refused: {counts}")
    if grown > GROWN_BYTES_MAX:
        broken.append(f"it grew by {grown} bytes")
    if scale.part > 0:
        broken += _late(found)
    return Outcome("overload", f"{TIMES} times capacity for {seconds:g} s", verdict, notes, broken)


@dataclass(frozen=True)
class Measured:
    """Rates are of answers per second; `goodput` is a part of what it can do alone."""

    before: float
    after: float
    during: float
    goodput: float
    p99_s: float
    waited_s: float
    recovered_s: float

    @classmethod
    def of(cls, alone: Said, said: Said, after: Sequence[Said]) -> Self:
        """Held against the lesser of what it could do before and after: machines get busy meanwhile."""
        settled = statistics.median(_rate(window) for window in after[len(after) // 2 :])
        capacity = min(_rate(alone), settled)
        return cls(
            before=_rate(alone),
            after=settled,
            during=_rate(said),
            goodput=_rate(said) / capacity,
            p99_s=said["times"][round(len(said["times"]) * 0.99) - 1] if said["times"] else math.nan,
            waited_s=said["slowest_s"],
            recovered_s=said["drained_s"] + _recovered_s(after, capacity),
        )

    def notes(self) -> list[str]:
        return [
            f"answers a second: {self.before:.0f} alone, {self.during:.0f} while {TIMES * self.before:.0f} "
            f"were asked for, {self.after:.0f} afterwards: goodput {self.goodput:.2f} (bar {GOODPUT_MIN})",
            f"p99 of those answered {self.p99_s:.2f} s; nobody waited longer than {self.waited_s:.2f} s "
            f"(bar {WAITED_MAX_S:g})",
            f"recovered in {self.recovered_s:.1f} s (bar {RECOVERED_WITHIN_S:g})",
        ]


def _late(found: Measured) -> list[str]:
    """Which times and rates are not what they should be, by bars that are far from what is usual."""
    late = {
        f"goodput is {found.goodput:.2f} of what it can do": found.goodput < GOODPUT_MIN,
        f"somebody waited {found.waited_s:.1f} s": found.waited_s > WAITED_MAX_S,
        f"it took {found.recovered_s:.1f} s to recover": found.recovered_s > RECOVERED_WITHIN_S,
    }
    return [what for what, is_so in late.items() if is_so]


def _recovered_s(after: Sequence[Said], capacity: float) -> float:
    """Until the end of the first stretch that answers at RECOVERED_RATE, and refuses nobody."""
    for number, window in enumerate(after, 1):
        if set(window["counts"]) == {"200"} and _rate(window) >= RECOVERED_RATE * capacity:
            return math.fsum(passed["seconds"] for passed in after[:number])
    return math.inf


def _rate(said: Said) -> float:
    answered: int = said["counts"].get("200", 0)
    seconds: float = said["seconds"]
    return answered / seconds


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


async def _alone(rush: Process, seconds: float, at_once: int = AT_ONCE) -> Said:
    rush.tell(alone=seconds, at_once=at_once)
    return await rush.hear()


async def _afterwards(rush: Process, *, windows: int, window_s: float) -> list[Said]:
    return [await _alone(rush, window_s, AT_ONCE_AFTERWARDS) for _ in range(windows)]


def _refusal(alone: dict[str, int], both: dict[str, int], spent: Sequence[float]) -> float:
    """What one costs, in answers: the CPU of the rush is that of its answers and that of its refusals."""
    an_answer_s = (spent[1] - spent[0]) / max(1, alone.get("200", 0))
    refusals_s = (spent[2] - spent[1]) - both.get("200", 0) * an_answer_s
    refused = sum(count for status, count in both.items() if status.startswith("503"))
    return refusals_s / max(1, refused) / max(an_answer_s, 1e-9)


async def _well(play: Play, app: Application) -> float:
    """Seconds until it says that it is well, and its followers are level with all that was written."""
    began = time.monotonic()
    await play.field.until_status(app, "ok")
    async with asyncio.timeout(LEVEL_WITHIN_S):
        while await play.level():
            pass
    return time.monotonic() - began
