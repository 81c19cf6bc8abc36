"""Everybody is cut off at once and comes back at once: the app is killed and started again."""

from typing import Final

import msgspec

from tests.faults.field import SERVE, Field
from tests.faults.scenario import Outcome, Play, Scale
from tests.faults.scenarios.crowds import crowd, findings

BACK_WITHIN_S: Final = 180.0
WRITTEN_MEANWHILE: Final = 5
# What only a read of the log by channel and offset says (domain/streams.py), as Postgres logs it.
READ: Final = 'e."offset", e.id, e.type, e.data'


async def run(field: Field, scale: Scale) -> Outcome:
    """What was missed is read once per channel, and HTTP keeps answering.

    The crowd is on an app of its own, so that nobody is left to fill the ring before everybody asks for it.
    """
    size, shops = scale.of(10_000, 100), scale.of(50, 4)
    async with Play(field) as play, field.another(SERVE) as app:
        await play.open(shops, items=1, watchers=0)
        async with crowd(play, port=app.port, size=size) as clients:
            await app.kill()
            for _ in range(WRITTEN_MEANWHILE):
                for shop in play.shops:
                    await play.trade.change(shop, shop.items[0])
            # From its next connection on, Postgres says what it is asked.
            await _log_statements(field, "all")
            before = _reads(field)
            await field.restart(app)
            back = await clients.level(await play.tops(), within_s=BACK_WITHIN_S)
            reads = _reads(field) - before
            await _log_statements(field, "none")
            # Changes while nobody is away: everybody is live again.
            for shop in play.shops:
                await play.trade.change(shop, shop.items[0], url=app.url)
            live = await clients.level(await play.tops(), within_s=BACK_WITHIN_S)
            report = await clients.report()
        verdict = await play.finish()
        verdict = msgspec.structs.replace(verdict, findings=[*verdict.findings, *findings(report)])
    counts = report["counts"]
    notes = [
        f"{back} back, {counts.get('recovered', 0)} recovered, {counts.get('looked again', 0)} told to look",
        f"{reads} reads of the log for {shops} channels",
        play.trade.said(),
    ]
    broken = play.trade.unlike(200, 409)
    if back < size or live < size:
        broken.append(f"{size - min(back, live)} of {size} did not come back: {counts}")
    if not 0 < reads <= shops:
        broken.append(f"{reads} reads of the log for {shops} channels")
    return Outcome("reconnect storm", f"SIGKILL under {size} clients", verdict, notes, broken)


async def _log_statements(field: Field, which: str) -> None:
    async with field.database() as connection:
        await connection.execute(f"ALTER DATABASE maycole SET log_statement = '{which}'")


def _reads(field: Field) -> int:
    return field.postgres_log.read_text(errors="replace").count(READ)
