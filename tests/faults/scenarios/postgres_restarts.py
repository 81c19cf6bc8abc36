"""Postgres is shut down at once, in the midst of everything, and started again: it recovers from its log."""

import asyncio
import random

from tests.faults.field import Field
from tests.faults.scenario import Outcome, Play, Scale


async def run(field: Field, scale: Scale) -> Outcome:
    """Nothing acknowledged is lost, nothing half applied, and meanwhile there is nothing but 503."""
    dice = random.Random(scale.seed)  # noqa: S311 - a schedule that can be repeated
    restarts = scale.of(10, 2)
    async with Play(field) as play:
        await play.open(scale.of(10, 3), watchers=2)
        async with play.trading(writers=8, pause_s=0.02):
            for _ in range(restarts):
                await play.changes(40)
                await asyncio.sleep(dice.uniform(0, scale.seconds(3.0, 0.3)))
                await field.crash_postgres()
        verdict = await play.finish()
        notes = [play.trade.said(), f"clients reconnected {play.comebacks()} times"]
        broken = play.trade.unlike(200, 409, 503)
        return Outcome("postgres restarts", f"{restarts} immediate restarts", verdict, notes, broken)
