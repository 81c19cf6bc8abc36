"""Some clients read nothing any more, some at a trickle: the others do not feel it; all get everything."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import msgspec
import psutil

from tests.faults.faultproxy import FaultProxy
from tests.faults.field import Application, Field
from tests.faults.scenario import Outcome, Play, Scale
from tests.faults.scenarios.crowds import Crowd, crowd, findings
from tests.faults.trade import Account, Shop

TRICKLE_BYTES_PER_S: Final = 1000
BALLAST_BYTES: Final = 12_000
WARM_UP: Final = 10
PAUSE_S: Final = 0.03
SAMPLE_EVERY_S: Final = 0.1
LEVEL_WITHIN_S: Final = 120.0
STALLED_BYTES_MAX: Final = 1024 * 1024
STALLED_MEANT: Final = 20  # with fewer, what the process itself takes says more than what they take


async def run(field: Field, scale: Scale) -> Outcome:
    """The same changes twice: first with fast clients alone, then with the slow ones beside them."""
    fast, stalled, trickling = scale.of(100, 10), scale.of(50, 3), scale.of(10, 1)
    changes = min(300, scale.of(3000, 50))
    app = field.apps[0]
    async with Play(field) as play, await FaultProxy.listen(app.address) as line:
        owner = await Account.new(field, "Ann")
        play.shops.append(await Shop.open(owner, items=1, ballast=BALLAST_BYTES))
        async with (
            crowd(play, port=app.port, size=fast, keep_times=True) as fast_ones,
            crowd(play, port=app.port, size=stalled, small=True) as stalled_ones,
            crowd(play, port=line.port, size=trickling, small=True) as trickling_ones,
        ):
            await _p99_ms(play, fast_ones, WARM_UP)
            alone = await _p99_ms(play, fast_ones, changes)
            line.to_client.bytes_per_s = TRICKLE_BYTES_PER_S
            await stalled_ones.stall(True)
            async with _most_memory(app) as grown:
                beside = await _p99_ms(play, fast_ones, changes)
            await stalled_ones.stall(False)
            line.mend()
            everyone = {fast_ones: fast, stalled_ones: stalled, trickling_ones: trickling}
            tops = await play.tops()
            late = [size - await each.level(tops, within_s=LEVEL_WITHIN_S) for each, size in everyone.items()]
            reports = [await each.report() for each in everyone]
        verdict = await play.finish()
    found = [finding for report in reports for finding in findings(report)]
    verdict = msgspec.structs.replace(verdict, findings=[*verdict.findings, *found])
    broken = play.trade.unlike(200, 409)
    if any(late):
        broken.append(f"{sum(late)} did not catch up")
    if closed := reports[0]["counts"].get("closed"):
        broken.append(f"{closed} fast clients were closed")
    each = max(grown) / stalled
    if stalled >= STALLED_MEANT and each > STALLED_BYTES_MAX:
        broken.append("memory per stalled client")
    notes = [
        f"fast clients' p99 {alone:.1f} ms alone, {beside:.1f} ms beside: {beside / alone:.2f} (bar 1.2)",
        f"{each / 1024:.0f} KiB per stalled client (bar 1024)",
        f"stalled ones: {_said(reports[1])}",
    ]
    faults = f"{stalled} stalled, {trickling} at 1 KB/s, beside {fast} fast"
    return Outcome("slow clients", faults, verdict, notes, broken)


async def _p99_ms(play: Play, fast: Crowd, changes: int) -> float:
    """From the beginning of a change's request until each fast client has it."""
    shop = play.shops[0]
    begun: dict[int, float] = {}
    for _ in range(changes):
        write = await play.trade.change(shop, shop.items[0])
        begun[write.offset] = write.began
        await asyncio.sleep(PAUSE_S)
    await fast.level(await play.tops(), within_s=LEVEL_WITHIN_S)
    times = (await fast.report())["times"]
    took = sorted(at - begun[offset] for _, offset, at in times if offset in begun)
    assert took, "nothing was delivered"
    return 1000 * took[round(len(took) * 0.99) - 1]


@contextlib.asynccontextmanager
async def _most_memory(app: Application) -> AsyncIterator[Sequence[int]]:
    """How many bytes the app has grown by, sampled until the block ends."""
    process = psutil.Process(app.pid)
    before = process.memory_info().rss
    grown = [0]

    async def sample() -> None:
        while True:
            grown.append(process.memory_info().rss - before)
            await asyncio.sleep(SAMPLE_EVERY_S)

    sampling = asyncio.create_task(sample())
    try:
        yield grown
    finally:
        sampling.cancel()
        await asyncio.gather(sampling, return_exceptions=True)


def _said(report: dict[str, Any]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(report["counts"].items()))
