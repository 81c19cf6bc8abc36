"""Apps are stopped with SIGTERM and started again, one after the other, while everybody is at work."""

import asyncio
from typing import Final

from tests.faults.field import Field
from tests.faults.scenario import Outcome, Play, Scale

SHUTDOWN: Final = 3001


async def run(field: Field, scale: Scale) -> Outcome:
    """Requests go to the next app where one refuses the connection; no other failure is forgiven."""
    rounds = scale.of(4, 1)
    async with Play(field) as play:
        await play.open(scale.of(20, 3), watchers=scale.of(5, 3))
        async with play.trading(writers=6, pause_s=0.02):
            statuses = []
            for _ in range(rounds):
                for app in field.apps:
                    await play.changes(20)
                    statuses.append(await app.stop())
                    await play.changes(5)
                    await field.restart(app)
                    await asyncio.sleep(scale.seconds(1.0, 0.0))
        verdict = await play.finish()
        closes = play.followers.closes()
        broken = play.trade.unlike(200, 409)
        hard = [code for code in closes if code != SHUTDOWN]
        if hard:
            broken.append(f"{len(hard)} of {len(closes)} closes were not {SHUTDOWN}: {sorted(set(hard))}")
        if any(statuses):
            broken.append(f"exit statuses {statuses}")
        notes = [play.trade.said(), f"{closes.count(SHUTDOWN)} closes with {SHUTDOWN}"]
        faults = f"{len(statuses)} SIGTERM, rolling over {len(field.apps)} apps"
        return Outcome("rolling restarts", faults, verdict, notes, broken)
