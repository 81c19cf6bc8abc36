"""What an app depends on goes away, gets slow, or falls silent: health tells what is true, soon."""

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

import httpx

from tests.faults.asking import client
from tests.faults.faultproxy import FaultProxy
from tests.faults.field import READY_WITHIN_S, Application, Field
from tests.faults.scenario import Outcome, Play, Scale

ASKED_WITHIN_S: Final = 10.0  # far more than a check may take, so that a slow machine is no fault
SLOW_S: Final = 1.2


class Cell(NamedTuple):
    """A fault on a link; then health has this status, and ready this answer. Live answers 200 always."""

    link: str
    fault: str
    status: str
    ready: int


def _slow(link: FaultProxy) -> None:
    link.to_client.latency_s = SLOW_S


FAULTS: Final[dict[str, Callable[[FaultProxy], None]]] = {
    "down": FaultProxy.cut,
    "slow": _slow,
    "black hole": FaultProxy.partition,
}
MATRIX: Final = (
    Cell("postgres", "down", "down", 503),
    Cell("postgres", "slow", "degraded", 200),
    Cell("postgres", "black hole", "down", 503),
    Cell("redis", "down", "degraded", 200),
    Cell("redis", "slow", "degraded", 200),
    Cell("redis", "black hole", "degraded", 200),
)
# The short tier leaves out what other scenarios of it do to Redis.
SHORT: Final = MATRIX[:3]


async def run(field: Field, scale: Scale) -> Outcome:
    """Each fault, until health says so; and then none, until it says that."""
    app = field.apps[0]
    broken: list[str] = []
    cells = MATRIX if scale.part else SHORT
    async with Play(field) as play:
        await play.open(1, watchers=1)
        async with play.trading(writers=4, pause_s=0.02):
            await play.changes(20)
            for cell in cells:
                link = getattr(app, cell.link)
                FAULTS[cell.fault](link)
                broken += await _told(app, cell)
                link.mend()
                await field.until_status(app, "ok")
        verdict = await play.finish()
    broken += play.trade.unlike(200, 409, 503)
    faults = ", ".join(f"{cell.link} {cell.fault}" for cell in cells)
    return Outcome("health", faults, verdict, [play.trade.said()], broken)


async def _told(app: Application, cell: Cell) -> list[str]:
    """What is wrong with what it says."""
    wrong = []
    said = "nothing"
    async with client(base_url=app.url, timeout=ASKED_WITHIN_S) as http:
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                while said != cell.status:
                    said = (await http.get("/api/health")).json()["data"]["status"]
                    await asyncio.sleep(0.05)
            ready = (await http.get("/api/health/ready")).status_code
            if ready != cell.ready:
                wrong.append(f"ready said {ready} with {cell.link} {cell.fault}")
        except (TimeoutError, httpx.TimeoutException):
            wrong.append(f"health said {said} with {cell.link} {cell.fault}")
        live = (await http.get("/api/health/live")).status_code
        if live != 200:
            wrong.append(f"live said {live} with {cell.link} {cell.fault}")
    return wrong
