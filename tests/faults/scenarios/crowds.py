"""How scenarios speak to a crowd (tests/faults/crowd.py), and what they make of its report."""

import contextlib
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import msgspec

from tests.bench.harness import Process, running
from tests.faults.checker import Finding
from tests.faults.field import ROOT
from tests.faults.scenario import Play

READY_WITHIN_S: Final = 180.0
REPORT_WITHIN_S: Final = 60.0


class Crowd:
    """A crowd in a process of its own."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def level(self, tops: dict[str, int], *, within_s: float) -> int:
        """How many have come as far as these offsets, when all have or the time is over."""
        self._process.tell(level=tops, within_s=within_s)
        level: int = (await self._process.hear(within_s + REPORT_WITHIN_S))["level"]
        return level

    async def stall(self, stalled: bool) -> None:
        """Read nothing any more, or go on reading."""
        self._process.tell(stall=stalled)
        await self._process.hear()

    async def report(self) -> dict[str, Any]:
        self._process.tell(report=True)
        report: dict[str, Any] = (await self._process.hear(REPORT_WITHIN_S))["report"]
        return report


@contextlib.asynccontextmanager
async def crowd(play: Play, *, port: int, size: int, **job: Any) -> AsyncIterator[Crowd]:
    """Clients of the play's shops, each shop with as many as any other; all of them have come in."""
    tokens = [await shop.owner.token() for shop in play.shops]
    channels = [shop.channel for shop in play.shops]
    given = {"host": "127.0.0.1", "port": port, "tokens": tokens, "channels": channels, "size": size, **job}
    command = (sys.executable, "-m", "tests.faults.crowd", msgspec.json.encode(given).decode())
    async with running("the crowd", *command, env={"PYTHONPATH": str(ROOT)}) as process:
        await process.hear(READY_WITHIN_S)
        yield Crowd(process)


def findings(report: dict[str, Any]) -> Sequence[Finding]:
    """What a crowd found wrong. C2 and C3 are checked there, frame by frame."""
    rules = {"doubled": "C3", "lost": "C2", "dishonest": "C5"}
    return [Finding(rules[kind], kind, what) for kind, what in report["wrong"]]
