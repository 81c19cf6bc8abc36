"""Clients that do not give up: each change has an Idempotency-Key, and is sent until it is answered.

They lose patience now and then and hang up in the middle; the next try goes to whichever app is next. In the
end each key must have one effect, and every answer that was given to it must tell of that one.
"""

import asyncio
import contextlib
import itertools
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from tests.factories import PASSWORD
from tests.faults.field import Field
from tests.faults.history import Write
from tests.faults.scenario import Play
from tests.faults.trade import Shop

TRIES_MAX: Final = 1500
AGAIN_AFTER_S: Final = 0.05
IMPATIENT: Final = 0.2  # the part of tries that are hung up on
REPEATED: Final = 2  # how often it is sent once more after it was answered
_names = itertools.count(1)


@dataclass
class Retries:
    """Everything that was sent, and what it was answered. `said` counts what came of single tries."""

    field: Field
    dice: random.Random
    moved: dict[str, int] = field(default_factory=dict)  # marker -> quantity that the answer tells of
    joined: dict[str, str] = field(default_factory=dict)  # address -> session that the answer tells of
    said: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)

    async def change(self, play: Play, shop: Shop, item_id: str, *, url: str | None = None) -> None:
        """Move one piece, once, however often it is asked for."""
        marker, began = f"k{next(_names)}", time.monotonic()
        path, body = f"/api/inventory/{item_id}/adjust", {"delta": 1, "reason": marker}
        answer = await self._insist(path, marker, body, token=await shop.owner.token(), url=url)
        if answer.status_code != 200:
            self.broken.append(f"{marker} was answered {answer.status_code}: {answer.text}")
            return
        told = dict(place.rsplit("@", 1) for place in answer.headers["X-Stream-Position"].split())
        self.moved[marker] = answer.json()["data"]["quantity"]
        at = time.monotonic()
        play.trade.writes.append(Write(marker, shop.channel, "committed", int(told[shop.channel]), at, began))

    async def register(self) -> None:
        """Make an account, once: a handler that hashes first and commits in the end."""
        email = f"k{next(_names)}-{self.dice.getrandbits(40):x}@example.org"
        body = {"email": email, "password": PASSWORD, "name": "Kay"}
        answer = await self._insist("/api/auth/register", email, body)
        if answer.status_code != 201:
            self.broken.append(f"registering {email} was answered {answer.status_code}: {answer.text}")
            return
        self.joined[email] = answer.json()["data"]["sessionId"]

    async def judged(self) -> list[str]:
        """What is wrong in the end: effects that are not one, or not the one that was told."""
        async with self.field.database() as connection:
            moves = await connection.fetch(
                "SELECT reason, quantity_after FROM stock_movements WHERE reason = ANY($1)", list(self.moved)
            )
            signed_in = await connection.fetch(
                """SELECT u.email::text AS email, s.id FROM users u JOIN user_sessions s ON s.user_id = u.id
                   WHERE u.email::text = ANY($1)""",
                list(self.joined),
            )
        effects = sorted((row["reason"], row["quantity_after"]) for row in moves)
        people = sorted((row["email"], row["id"]) for row in signed_in)
        return [
            *self.broken,
            *(f"told {told}, done {done}" for told, done in _unlike(sorted(self.moved.items()), effects)),
            *(f"told {told}, done {done}" for told, done in _unlike(sorted(self.joined.items()), people)),
        ]

    async def _insist(
        self, path: str, key: str, body: object, *, token: str | None = None, url: str | None = None
    ) -> httpx.Response:
        """Ask until there is an answer, and then REPEATED times more: those must be the same."""
        first: httpx.Response | None = None
        left = REPEATED
        for _ in range(TRIES_MAX):
            answer = await self._try(path, key, body, token, url)
            if answer is None:
                await asyncio.sleep(AGAIN_AFTER_S)
                continue
            if first is None:
                first = answer
            elif _told(answer) != _told(first):
                self.broken.append(f"{key} was answered {_told(first)}, then {_told(answer)}")
            if left == 0:
                return first
            left -= 1
        raise TimeoutError(f"{path} with the key {key} was not answered in {TRIES_MAX} tries")

    async def _try(
        self, path: str, key: str, body: object, token: str | None, url: str | None
    ) -> httpx.Response | None:
        headers = {"Idempotency-Key": key} | ({"Authorization": f"Bearer {token}"} if token else {})
        where = url or self.dice.choice(self.field.apps).url
        patience_s = self.dice.uniform(0.001, 0.05) if self.dice.random() < IMPATIENT else 30.0
        try:
            answer = await self.field.http.post(where + path, json=body, headers=headers, timeout=patience_s)
        except httpx.TransportError as lost:
            self.said[type(lost).__name__] += 1
            return None
        known = answer.headers.get("Idempotent-Replayed")
        self.said["replayed" if known else str(answer.status_code)] += 1
        in_use = answer.status_code == 409 and answer.json()["code"] == "idempotency_key_in_use"
        return None if in_use or answer.status_code == 503 else answer

    @contextlib.asynccontextmanager
    async def going_on(self, play: Play, *, writers: int, newcomers: int) -> AsyncIterator[None]:
        """Clients at work until the block ends."""
        done = asyncio.Event()
        places = [(shop, item) for shop in play.shops for item in shop.items]

        async def write(number: int) -> None:
            while not done.is_set():
                await self.change(play, *places[number % len(places)])

        async def join() -> None:
            while not done.is_set():
                await self.register()

        work = [asyncio.create_task(write(number)) for number in range(writers)]
        work += [asyncio.create_task(join()) for _ in range(newcomers)]
        try:
            yield
        finally:
            done.set()
            await asyncio.gather(*work)

    async def let_claims_lapse(self) -> None:
        """As if half a minute had passed: of claims of the dead, and also of some who are still at it."""
        async with self.field.database() as connection:
            await connection.execute("UPDATE idempotency_keys SET expires_at = now() WHERE status IS NULL")


def _told(answer: httpx.Response) -> tuple[Any, ...]:
    return answer.status_code, answer.content, answer.headers.get("X-Stream-Position")


def _unlike(told: list[Any], done: list[Any]) -> list[tuple[Any, Any]]:
    """Pairs that differ; None where one side has nothing."""
    counted = Counter(told)
    counted.subtract(done)
    return [(each, None) if count > 0 else (None, each) for each, count in counted.items() if count]
