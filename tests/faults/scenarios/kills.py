"""App processes are killed with SIGKILL again and again, and writers between COMMIT and announcement."""

import asyncio
import random
import sys
from typing import Final

from tests.faults.field import Field
from tests.faults.scenario import Outcome, Play, Scale

WRITER: Final = (sys.executable, "-m", "tests.faults.writer")
DIES_AFTER: Final = 4


async def run(field: Field, scale: Scale) -> Outcome:
    """Every kill takes another app's share of clients and requests with it; it is started again at once."""
    dice = random.Random(scale.seed)  # noqa: S311 - a schedule that can be repeated
    kills, deaths = scale.of(30, 3), scale.of(8, 1)
    async with Play(field) as play:
        await play.open(scale.of(40, 3), watchers=scale.of(5, 3))
        async with play.trading(writers=8):
            for number in range(kills):
                await play.changes(10)
                await asyncio.sleep(dice.uniform(0, scale.seconds(3.0, 0.3)))
                app = dice.choice(field.apps)
                await app.kill()
                if number < deaths:
                    await _die_after_commit(play)
                await play.changes(5)
                await field.restart(app)
        verdict = await play.finish()
        notes = [play.trade.said(), f"{len(play.followers.all)} clients reconnected {play.comebacks()} times"]
        faults = f"{kills} SIGKILL of {len(field.apps)} apps, {deaths} between COMMIT and announcement"
        return Outcome("kills", faults, verdict, notes, play.trade.unlike(200, 409))


async def _die_after_commit(play: Play) -> None:
    status = await play.trade.by_process(play.shops[0], WRITER, changes=DIES_AFTER * 2, die_after=DIES_AFTER)
    assert status == -9, "it was to be killed between COMMIT and announcement"
