"""Rights are taken away: removal, demotion, logout, a revoked key, a deleted team; sockets on two apps."""

import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from tests.factories import Person
from tests.faults.field import Application, Field, until
from tests.faults.follower import Follower
from tests.faults.history import Left, Revoked
from tests.faults.scenario import Outcome, Play, Scale
from tests.faults.trade import Account, Shop
from tests.keys import new_key

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


@dataclass(frozen=True)
class Guest:
    """Whose right goes: somebody in the shop, and the key of theirs that the sockets come with, if any."""

    account: Account
    key: dict[str, Any] | None

    @property
    def person(self) -> Person:
        return self.account.person


@dataclass(frozen=True)
class Revocation:
    """The role that the person has, the channel that goes, and what takes it away."""

    role: str
    kind: str
    revoke: Callable[[Shop, Guest], Awaitable[int]]
    by_key: bool = False


async def _removal(shop: Shop, who: Guest) -> int:
    path = f"/teams/{shop.team_id}/members/{who.person.id}"
    return (await shop.owner.person.delete(path)).status_code


async def _demotion(shop: Shop, who: Guest) -> int:
    path = f"/teams/{shop.team_id}/members/{who.person.id}"
    return (await shop.owner.person.put(path, {"role": "viewer"})).status_code


async def _logout(shop: Shop, who: Guest) -> int:
    return (await who.person.post("/auth/logout")).status_code


async def _end_of_a_key(shop: Shop, who: Guest) -> int:
    assert who.key is not None, "it is by key"
    return (await who.person.delete(f"/auth/api-keys/{who.key['id']}")).status_code


async def _deletion(shop: Shop, who: Guest) -> int:
    return (await shop.owner.person.delete(f"/teams/{shop.team_id}")).status_code


REVOCATIONS: Final[dict[str, Revocation]] = {
    "removal": Revocation("member", "inventory", _removal),
    "demotion": Revocation("admin", "audit", _demotion),
    "logout": Revocation("member", "inventory", _logout),
    "revoked key": Revocation("admin", "inventory", _end_of_a_key, by_key=True),
    "deletion": Revocation("viewer", "inventory", _deletion),
}


async def _take_away(play: Play, shop: Shop, name: str, revocation: Revocation) -> list[float]:
    """How long after the commit's answer each socket was told; nothing where one was not."""
    channel = f"{revocation.kind}:{shop.team_id}"
    who = await _guest(play, shop, revocation)
    sockets = [
        await play.followers.add(_socket(who, f"{name} on app {number}", app), channel)
        for number, app in enumerate(play.field.apps)
    ]
    status = await revocation.revoke(shop, who)
    answered = time.monotonic()
    assert status in (200, 204), f"{name}: {status}"
    felt = await until(lambda: all(_left_at(each, channel) is not None for each in sockets), FELT_WITHIN_S)
    for follower in sockets:
        follower.note(Revoked(channel, time.monotonic()))
    if not felt:
        return []
    return [max(0.0, (_left_at(each, channel) or 0.0) - answered) for each in sockets]


async def _guest(play: Play, shop: Shop, revocation: Revocation) -> Guest:
    account = await Account.new(play.field, "Bob")
    given = {"userId": account.person.id, "role": revocation.role}
    added = await shop.owner.person.post(f"/teams/{shop.team_id}/members", given)
    assert added.status_code == 201, added.text
    if not revocation.by_key:
        return Guest(account, None)
    return Guest(account, await new_key(account.person, "inventory:read", teamId=shop.team_id))


def _socket(who: Guest, name: str, app: Application) -> Follower:
    return who.account.follower(name, url=app.url, key=who.key["key"] if who.key else None)


def _left_at(follower: Follower, channel: str) -> float | None:
    for event in follower.seen:
        if isinstance(event, Left) and event.channel == channel:
            return event.at
    return None
