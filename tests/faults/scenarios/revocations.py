"""Rights are taken away: removal, demotion, a role that may less, logout, a revoked key, a deleted team.

What reaches a person on two apps: their sockets are told, and their requests refused from some moment on.
"""

import asyncio
import secrets
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple

from tests.factories import Person
from tests.faults.asking import client
from tests.faults.field import Application, Field, until
from tests.faults.follower import Follower
from tests.faults.history import Left, Revoked
from tests.faults.scenario import Outcome, Play, Scale
from tests.faults.trade import Account, Shop
from tests.keys import new_key

FELT_WITHIN_S: Final = 30.0
REQUEST_EVERY_S: Final = 0.03
READS: Final = {"inventory": "/api/inventory?teamId={}&limit=1", "audit": "/api/audit-logs?teamId={}&limit=1"}


class Guest(NamedTuple):
    """Whose right goes: somebody in the shop with a role, and the key that they come with, if any."""

    account: Account
    role: str
    key: dict[str, Any] | None

    @property
    def person(self) -> Person:
        return self.account.person

    @property
    def credential(self) -> str:
        return self.key["key"] if self.key is not None else self.person.token


class Revocation(NamedTuple):
    """The role that the person has (made for them, if `auditor`), the channel that goes, what takes it."""

    role: str
    kind: str
    take: Callable[[Shop, Guest], Awaitable[int]]
    by_key: bool = False


class Felt(NamedTuple):
    """After the answer to whoever took it away: each socket was told, each app refused, so many seconds."""

    sockets_s: list[float]
    requests_s: list[float]


async def run(field: Field, scale: Scale) -> Outcome:
    """Each time one right of one person goes, who has a socket on each app, while shops trade."""
    rounds = scale.of(25, 2)
    felt: list[Felt] = []
    broken: list[str] = []
    async with Play(field) as play:
        await play.open(2, watchers=2)
        shop = play.shops[0]
        play.more_channels.append(f"audit:{shop.team_id}")
        async with play.trading(writers=4, pause_s=0.05):
            for number in range(rounds):
                for name, revocation in REVOCATIONS.items():
                    # A team is deleted once: each time it is another one.
                    of = await Shop.open(shop.owner, items=1) if name == "deletion" else shop
                    one = await _take_away(play, of, f"{name} {number}", revocation)
                    if one is None:
                        broken.append(f"{name} {number} was not felt")
                    else:
                        felt.append(one)
                    await play.changes(3)
        verdict = await play.finish()
    notes = [
        _said("commit to close", [s for one in felt for s in one.sockets_s]),
        _said("commit to the last request answered", [s for one in felt for s in one.requests_s]),
    ]
    faults = f"{rounds} each of {', '.join(REVOCATIONS)}; sockets and requests on {len(field.apps)} apps"
    return Outcome("revocations", faults, verdict, notes, [*broken, *play.trade.unlike(200, 409)])


def _said(what: str, seconds: Sequence[float]) -> str:
    ms = sorted(1000 * each for each in seconds) or [float("nan")]
    p99 = ms[max(0, round(len(ms) * 0.99) - 1)]
    return f"{what} p50 {statistics.median(ms):.0f} ms, p99 {p99:.0f} ms (bar 250 ms)"


async def _removal(shop: Shop, who: Guest) -> int:
    path = f"/teams/{shop.team_id}/members/{who.person.id}"
    return (await shop.owner.person.delete(path)).status_code


async def _demotion(shop: Shop, who: Guest) -> int:
    path = f"/teams/{shop.team_id}/members/{who.person.id}"
    return (await shop.owner.person.put(path, {"role": "viewer"})).status_code


async def _redefinition(shop: Shop, who: Guest) -> int:
    path = f"/teams/{shop.team_id}/roles/{who.role}"
    return (await shop.owner.person.put(path, {"permissions": ["inventory:read"]})).status_code


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
    "redefinition": Revocation("auditor", "audit", _redefinition),
    "logout": Revocation("member", "inventory", _logout),
    "revoked key": Revocation("admin", "inventory", _end_of_a_key, by_key=True),
    "deletion": Revocation("viewer", "inventory", _deletion),
}


async def _take_away(play: Play, shop: Shop, name: str, revocation: Revocation) -> Felt | None:
    """How long after the commit's answer it was felt; None where it was not."""
    channel = f"{revocation.kind}:{shop.team_id}"
    who = await _guest(play, shop, revocation)
    sockets = [
        await play.followers.add(_socket(who, f"{name} on app {number}", app), channel)
        for number, app in enumerate(play.field.apps)
    ]
    path, headers = READS[revocation.kind].format(shop.team_id), {"Authorization": f"Bearer {who.credential}"}
    asking = [asyncio.create_task(_last_answer(app.url + path, headers)) for app in play.field.apps]
    status = await revocation.take(shop, who)
    answered = time.monotonic()
    assert status in (200, 204), f"{name}: {status}"
    felt = await until(lambda: all(_left_at(each, channel) is not None for each in sockets), FELT_WITHIN_S)
    for follower in sockets:
        follower.note(Revoked(channel, time.monotonic()))
    last = await asyncio.gather(*asking)
    # Whoever is still in the shop makes room for the next: a team has a hundred members at most.
    await shop.owner.person.delete(f"/teams/{shop.team_id}/members/{who.person.id}")
    if not felt or None in last:
        return None
    return Felt(
        [max(0.0, (_left_at(each, channel) or 0.0) - answered) for each in sockets],
        [max(0.0, (each or 0.0) - answered) for each in last],
    )


async def _guest(play: Play, shop: Shop, revocation: Revocation) -> Guest:
    account = await Account.new(play.field, "Bob")
    role = await _role(shop, revocation.role)
    given = {"userId": account.person.id, "role": role}
    added = await shop.owner.person.post(f"/teams/{shop.team_id}/members", given)
    assert added.status_code == 201, added.text
    key = None
    if revocation.by_key:
        key = await new_key(account.person, "inventory:read", teamId=shop.team_id)
    return Guest(account, role, key)


def _socket(who: Guest, name: str, app: Application) -> Follower:
    return who.account.follower(name, url=app.url, key=who.key["key"] if who.key else None)


async def _role(shop: Shop, role: str) -> str:
    """A role of this kind; one of the team's own is made for the occasion."""
    if role != "auditor":
        return role
    name = f"auditor-{secrets.token_hex(4)}"
    new = {"name": name, "permissions": ["audit:read", "inventory:read"]}
    made = await shop.owner.person.post(f"/teams/{shop.team_id}/roles", new)
    assert made.status_code == 201, made.text
    return name


async def _last_answer(url: str, headers: dict[str, str]) -> float | None:
    """Ask again and again until it is refused: when the last answer came. None if it never is."""
    last = began = time.monotonic()
    async with client(headers=headers, timeout=FELT_WITHIN_S) as http:
        while time.monotonic() - began < FELT_WITHIN_S:
            answer = await http.get(url)
            if answer.status_code in (401, 403, 404):
                return last
            assert answer.status_code == 200, answer.text
            last = time.monotonic()
            await asyncio.sleep(REQUEST_EVERY_S)
    return None


def _left_at(follower: Follower, channel: str) -> float | None:
    for event in follower.seen:
        if isinstance(event, Left) and event.channel == channel:
            return event.at
    return None
