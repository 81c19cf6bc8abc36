"""Apps are killed under clients that repeat each change with its Idempotency-Key until it is answered."""

import asyncio
import random

from tests.faults.field import Field
from tests.faults.keyed import Retries
from tests.faults.scenario import Outcome, Play, Scale


async def run(field: Field, scale: Scale) -> Outcome:
    """SIGKILL at random points of many requests with keys: each key has one effect, and tells of that one."""
    dice = random.Random(scale.seed)  # noqa: S311 - a schedule that can be repeated
    kills = scale.of(20, 2)
    async with Play(field) as play:
        await play.open(scale.of(8, 2), watchers=1)
        retries = Retries(field, dice)
        async with retries.going_on(play, writers=scale.of(12, 6), newcomers=scale.of(4, 1)):
            for _ in range(kills):
                await play.changes(10)
                await asyncio.sleep(dice.uniform(0, scale.seconds(0.5, 0.1)))
                app = dice.choice(field.apps)
                await app.kill()
                await retries.let_claims_lapse()
                await play.changes(5)
                await field.restart(app)
        verdict = await play.finish()
        broken = await retries.judged()
        if not retries.said["replayed"]:
            broken.append("nothing was replayed: this shows nothing")
        said = ", ".join(f"{what}: {count}" for what, count in sorted(retries.said.items()))
        notes = [f"{len(retries.moved)} changes and {len(retries.joined)} accounts by key; tries {said}"]
        faults = f"{kills} SIGKILL of {len(field.apps)} apps under keyed requests"
        return Outcome("retries", faults, verdict, notes, broken)
