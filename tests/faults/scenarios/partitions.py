"""Links break: app and Postgres, app and Redis, client and app; in each direction, for a while, at random."""

import asyncio
import random
from collections.abc import Callable
from typing import Final

from app.pipeline.bounds import DEADLINE_S
from tests.faults.faultproxy import FaultProxy
from tests.faults.field import Field
from tests.faults.scenario import Outcome, Play, Scale

HOLE_S: Final = 20.0  # longer than a request may take, so that it shows
HOLES: Final = ("black hole", "black hole to the server", "black hole to the client")


def _both(link: FaultProxy) -> None:
    link.partition()


def _to_server(link: FaultProxy) -> None:
    link.partition(to_client=False)


def _to_client(link: FaultProxy) -> None:
    link.partition(to_server=False)


def _cut(link: FaultProxy) -> None:
    link.cut()


def _reset(link: FaultProxy) -> None:
    link.reset()


def _slow(link: FaultProxy) -> None:
    link.to_server.latency_s = link.to_client.latency_s = 0.05


def _narrow(link: FaultProxy) -> None:
    link.to_client.bytes_per_s = 20_000
    link.to_client.slice_bytes = 100


def _short(link: FaultProxy) -> None:
    link.to_client.limit_bytes = 20_000


FAULTS: Final[dict[str, Callable[[FaultProxy], None]]] = {
    "black hole": _both,
    "black hole to the server": _to_server,
    "black hole to the client": _to_client,
    "cut": _cut,
    "reset": _reset,
    "latency": _slow,
    "narrow and sliced": _narrow,
    "limited": _short,
}


async def run(field: Field, scale: Scale) -> Outcome:
    """Every fault on every kind of link, in an order and for times that are drawn; in a long run twice."""
    dice = random.Random(scale.seed)  # noqa: S311 - a schedule that can be repeated
    app = field.apps[0]
    kinds = {"postgres": app.postgres, "redis": app.redis, "client": field.front}
    schedule = [(name, fault) for name in kinds for fault in FAULTS]
    dice.shuffle(schedule)
    schedule = schedule * scale.of(2, 1)
    longest = scale.seconds(8.0, 0.8)
    async with Play(field) as play:
        await play.open(scale.of(8, 2), watchers=scale.of(4, 2))
        async with play.trading(writers=4, pause_s=0.05):
            for name, fault in schedule:
                FAULTS[fault](kinds[name])
                await asyncio.sleep(dice.uniform(0.3, max(0.4, longest)))
                kinds[name].mend()
                await play.changes(4)
            for direction in HOLES if scale.part else ():
                FAULTS[direction](app.postgres)
                await asyncio.sleep(HOLE_S)
                app.postgres.mend()
                await play.changes(4)
        verdict = await play.finish()
        notes = [
            play.trade.said(),
            f"bar for the longest request {DEADLINE_S + 1:g} s",
            f"clients reconnected {play.comebacks()} times",
        ]
        faults = f"{len(schedule)} on 3 links, {len(FAULTS)} kinds, up to {longest:.1f} s each"
        if scale.part:
            faults += f"; {len(HOLES)} black holes before Postgres of {HOLE_S:g} s"
        return Outcome("partitions", faults, verdict, notes, play.trade.unlike(200, 409, 503))
