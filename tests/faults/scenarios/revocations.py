"""Rights are taken away: removal, demotion, logout and a deleted team reach sockets on two apps."""

import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Final

from tests.faults.field import Field, until
from tests.faults.follower import Follower
from tests.faults.history import Left, Revoked
from tests.faults.scenario import Outcome, Play, Scale
from tests.faults.trade import Account, Shop

FELT_WITHIN_S: Final = 30.0


async def run(field: Field, scale: Scale) -> Outcome:
    """Each time one right of one person goes, who has a socket on each app, while shops trade."""
    rounds = scale.of(25, 2)
    felt_s: list[float] = []
    broken: list[str] = []
    async with Play(field) as play:
        await play.open(2, watchers=2)
        shop = play.shops[0]
        play.more_channels.append(f"audit:{shop.team_id}")
        async with play.trading(writers=4, pause_s=0.05):
            for number in range(rounds):
                for name, revoke in REVOCATIONS.items():
                    # A team is deleted once: each time it is another one.
                    of = await Shop.open(shop.owner, items=1) if name == "deletion" else shop
                    late = await _take_away(play, of, f"{name} {number}", revoke)
                    if not late:
                        broken.append(f"{name} {number} was not felt")
                    felt_s += late
                    await play.changes(3)
        verdict = await play.finish()
    felt_ms = sorted(1000 * seconds for seconds in felt_s)
    p99 = felt_ms[max(0, round(len(felt_ms) * 0.99) - 1)]
    notes = [f"commit to close p50 {statistics.median(felt_ms):.0f} ms, p99 {p99:.0f} ms (bar 250 ms)"]
    faults = f"{rounds} each of {', '.join(REVOCATIONS)}; sockets on {len(field.apps)} apps"
    return Outcome("revocations", faults, verdict, notes, [*broken, *play.trade.unlike(200, 409)])


# Role that the person has, the channel that goes, and what takes it away.
Revocation = tuple[str, str, Callable[[Shop, Account], Awaitable[int]]]


async def _removal(shop: Shop, who: Account) -> int:
    path = f"/teams/{shop.team_id}/members/{who.person.id}"
    return (await shop.owner.person.delete(path)).status_code


async def _demotion(shop: Shop, who: Account) -> int:
    path = f"/teams/{shop.team_id}/members/{who.person.id}"
    return (await shop.owner.person.put(path, {"role": "viewer"})).status_code


async def _logout(shop: Shop, who: Account) -> int:
    return (await who.person.post("/auth/logout")).status_code


async def _deletion(shop: Shop, who: Account) -> int:
    return (await shop.owner.person.delete(f"/teams/{shop.team_id}")).status_code


REVOCATIONS: Final[dict[str, Revocation]] = {
    "removal": ("member", "inventory", _removal),
    "demotion": ("admin", "audit", _demotion),
    "logout": ("member", "inventory", _logout),
    "deletion": ("viewer", "inventory", _deletion),
}


async def _take_away(play: Play, shop: Shop, name: str, revocation: Revocation) -> list[float]:
    """How long after the commit's answer each socket was told; nothing where one was not."""
    role, kind, revoke = revocation
    channel = f"{kind}:{shop.team_id}"
    who = await Account.new(play.field, "Bob")
    given = {"userId": who.person.id, "role": role}
    added = await shop.owner.person.post(f"/teams/{shop.team_id}/members", given)
    assert added.status_code == 201, added.text
    sockets = [
        await play.followers.add(who.follower(f"{name} on app {number}", url=app.url), channel)
        for number, app in enumerate(play.field.apps)
    ]
    status = await revoke(shop, who)
    answered = time.monotonic()
    assert status in (200, 204), f"{name}: {status}"
    felt = await until(lambda: all(_left_at(each, channel) is not None for each in sockets), FELT_WITHIN_S)
    for follower in sockets:
        follower.note(Revoked(channel, time.monotonic()))
    if not felt:
        return []
    return [max(0.0, (_left_at(each, channel) or 0.0) - answered) for each in sockets]


def _left_at(follower: Follower, channel: str) -> float | None:
    for event in follower.seen:
        if isinstance(event, Left) and event.channel == channel:
            return event.at
    return None
