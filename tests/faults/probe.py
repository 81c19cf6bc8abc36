"""The probe: one short scenario that no known bug gets through, against one app that may have one.

Nothing is killed in it. Writers undo what they did at the last moment or forget to announce it, one client is
cut off for a moment and then for too long, one member is removed.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from typing import Final

from tests.faults.checker import Verdict
from tests.faults.faultproxy import FaultProxy
from tests.faults.field import Application, Field, seeded, until
from tests.faults.history import Joined, Left, Revoked
from tests.faults.keyed import Retries
from tests.faults.scenario import Play
from tests.faults.seeded import BUGS
from tests.faults.trade import Account, Shop

# What each bug must be found by; nothing here is what a slow machine alone would cause.
CAUGHT_BY: Final = {
    "unordered-offsets": ("C0", "disordered"),
    "no-head-lock": ("C0", "disordered"),
    "announce-before-commit": ("C4", "undone"),
    "commit-forgotten": ("C0", "lost"),
    "gap-not-filled": ("C2", "disordered"),
    "resubscribe-without-catch-up": ("C5", "dishonest"),
    "false-recovery": ("C5", "dishonest"),
    "ring-off-by-one": ("C5", "dishonest"),
    "double-delivery": ("C3", "doubled"),
    "deaf-to-removal": ("C6", "revoked"),
    "answer-after-commit": ("C0", "doubled"),
}
assert set(CAUGHT_BY) == set(BUGS), "each bug is expected to be caught by something"
RECOVERED_MAX: Final = 300
SETTLE_S: Final = 1.5  # in a run with a bug, nobody waits long for what will not come


async def hunt(field: Field, bug: str) -> Verdict:
    """What the checker finds in an app with this bug (`none`: with none)."""
    async with field.another(seeded(bug, "serve")) as app, await FaultProxy.listen(app.address) as line:
        return await _probe(field, app, line, bug)


def caught(bug: str, verdict: Verdict) -> bool:
    return CAUGHT_BY[bug] in {(finding.rule, finding.kind) for finding in verdict.findings}


async def _probe(field: Field, app: Application, line: FaultProxy, bug: str) -> Verdict:
    patience_s = 30.0 if bug == "none" else SETTLE_S
    write = seeded(bug, "writer")
    async with Play(field) as play:
        ann, bob = await Account.new(field, "Ann"), await Account.new(field, "Bob")
        shop = await Shop.open(ann, items=4, member=bob)
        play.shops.append(shop)
        await play.followers.add(ann.follower("steady", url=app.url), shop.channel)
        away = ann.follower("away", url=f"http://127.0.0.1:{line.port}")
        await play.followers.add(away, shop.channel)
        member = await play.followers.add(bob.follower("member", url=app.url), shop.channel)

        # All at once, some of it undone or not announced.
        await asyncio.gather(
            play.trade.by_process(shop, write, changes=12, tasks=4, silent_every=3),
            *(_changes(play, shop, item, app, 6) for item in shop.items),
        )
        await play.level(within_s=patience_s)

        # Each change sent again and again with one key.
        retries = Retries(field, random.Random(1))  # noqa: S311 - a schedule that can be repeated
        await asyncio.gather(*(retries.change(play, shop, item, url=app.url) for item in shop.items))

        # Gone for a moment, then for more than is kept at hand.
        line.cut()
        await _changes(play, shop, shop.items[0], app, 3)
        line.mend()
        await until(lambda: _comebacks(away.seen) == 1, patience_s)
        await play.level(within_s=patience_s)
        line.cut()
        await play.trade.by_process(shop, write, changes=RECOVERED_MAX + 40, at_once=34)
        line.mend()
        await until(lambda: _comebacks(away.seen) == 2, patience_s)
        await play.level(within_s=patience_s)

        path = f"/teams/{shop.team_id}/members/{bob.person.id}"
        assert (await ann.person.delete(path)).status_code == 204
        await until(lambda: _left(member.seen, shop.channel), patience_s)
        member.note(Revoked(shop.channel, time.monotonic()))
        await _changes(play, shop, shop.items[0], app, 2)
        return await play.finish(within_s=patience_s, url=app.url)


async def _changes(play: Play, shop: Shop, item: str, app: Application, count: int) -> None:
    for number in range(1, count + 1):
        await play.trade.change(shop, item, undo=number % 10 == 0, url=app.url)


def _comebacks(seen: Sequence[object]) -> int:
    """How often it was let in again on the channel that it asked for."""
    return sum(_came_back(event) for event in seen)


def _left(seen: Sequence[object], channel: str) -> bool:
    return any(isinstance(event, Left) and event.channel == channel for event in seen)


def _came_back(event: object) -> bool:
    return isinstance(event, Joined) and event.was_recovering and event.channel.startswith("inventory:")
