"""The trade that goes on while things break: people with tokens, shops with items, writers over REST.

A writer moves one piece at a time, and a tenth of its changes are refused on purpose; each MAKE_EVERY-th is a
new item, which may share a commit with others' (domain/group_commit.py). A request that is
refused a connection goes to the next app, as behind a load balancer; one whose answer is lost is `unknown`.
"""

import asyncio
import dataclasses
import itertools
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import httpx
import msgspec

from tests.factories import Person, item
from tests.faults.field import REQUEST_WITHIN_S, ROOT, Field
from tests.faults.follower import Follower
from tests.faults.history import Write

BEGAN_WITH: Final = 10
UNDO_EVERY: Final = 10
MAKE_EVERY: Final = 4
TOKEN_FRESH_S: Final = 300.0
TRY_AGAIN_AFTER_S: Final = 0.1
TRIES_MAX: Final = 600
_names = itertools.count(1)


class Account:
    """A person who stays signed in: over ten minutes, and over any outage."""

    def __init__(self, field_: Field, person: Person) -> None:
        self.person = person
        self._field = field_
        self._fresh_until = time.monotonic() + TOKEN_FRESH_S
        self._lock = asyncio.Lock()

    @classmethod
    async def new(cls, field_: Field, name: str) -> "Account":
        return cls(field_, await field_.api.person(name))

    async def token(self) -> str:
        """An access token that is good for a while. It signs in anew: that may be repeated, a refresh not."""
        async with self._lock:
            if time.monotonic() > self._fresh_until:
                body = {"email": self.person.email, "password": self.person.password}
                answer = await insist(self._field, "POST", "/auth/login", json=body)
                self.person.token = answer["data"]["accessToken"]
                self._fresh_until = time.monotonic() + TOKEN_FRESH_S
        return self.person.token

    def follower(self, name: str, *, url: str | None = None, key: str | None = None) -> Follower:
        """A client of theirs, behind the load balancer unless said otherwise; with an API key if given."""

        async def shown() -> str:
            return key or await self.token()

        return Follower(name, url or self._field.url, shown, self._look)

    async def _look(self, channel: str) -> tuple[str, int]:
        kind, _, owner = channel.partition(":")
        assert kind == "inventory", f"no list belongs to {channel}"
        path = f"/inventory?teamId={owner}&limit=1"
        answer = await insist(self._field, "GET", path, token=await self.token())
        return answer["position"]["epoch"], answer["position"]["offset"]


async def insist(field_: Field, method: str, path: str, **more: Any) -> dict[str, Any]:
    """Ask until it is answered with success; only for what may be repeated. Raises TimeoutError."""
    for _ in range(TRIES_MAX):
        try:
            answer = await field_.api.call(method, path, **more)
        except httpx.TransportError:
            answer = None
        if answer is not None and answer.is_success:
            told: dict[str, Any] = answer.json()
            return told
        assert answer is None or answer.status_code in (429, 503), f"{method} {path}: {answer.text}"
        await asyncio.sleep(TRY_AGAIN_AFTER_S)
    raise TimeoutError(f"{method} {path} was not answered in {TRIES_MAX} tries")


@dataclasses.dataclass
class Shop:
    """A team, its items, and the channel that tells of them."""

    owner: Account
    team_id: str
    items: list[str]

    @property
    def channel(self) -> str:
        return f"inventory:{self.team_id}"

    @classmethod
    async def open(cls, owner: Account, *, items: int, ballast: int = 0, **members: Account) -> "Shop":
        people = {role: account.person for role, account in members.items()}
        team_id = await owner.person.api.team(owner.person, **people)
        # Attributes travel in every entry of their item.
        attributes = {"ballast": "x" * ballast} if ballast else {}
        given = {"quantity": BEGAN_WITH, "attributes": attributes}
        made = [await item(owner.person, team_id, **given) for _ in range(items)]
        return cls(owner, team_id, [each["id"] for each in made])


@dataclasses.dataclass
class Trade:
    """All changes of a scenario. `statuses` counts their answers, `failed` the codes of those that are 5xx,
    `longest_s` is the slowest one.
    """

    field: Field
    writes: list[Write] = dataclasses.field(default_factory=list)
    statuses: Counter[int | str] = dataclasses.field(default_factory=Counter)
    failed: Counter[str] = dataclasses.field(default_factory=Counter)
    longest_s: float = 0.0
    _turn: int = 0

    def committed(self) -> int:
        return sum(write.outcome == "committed" for write in self.writes)

    def unlike(self, *allowed: int) -> list[str]:
        """The answers that were none of these, nor 201; a connection that was lost is no answer."""
        others = {
            status: count
            for status, count in self.statuses.items()
            if isinstance(status, int) and status not in (201, *allowed)
        }
        return [
            f"{count} answers {status} (all 5xx: {dict(self.failed)})" for status, count in others.items()
        ]

    def said(self) -> str:
        """How requests went, in a line."""
        counts = ", ".join(f"{status}: {count}" for status, count in sorted(self.statuses.items(), key=str))
        return f"answers {counts}; the slowest {self.longest_s:.1f} s"

    async def change(self, shop: Shop, item_id: str, *, undo: bool = False, url: str | None = None) -> Write:
        """Move one piece; with `undo` in a way that is refused."""
        marker = f"w{next(_names)}"
        body: dict[str, Any] = {"delta": 1, "reason": marker}
        if undo:
            body["expectedQuantity"] = 10**9
        return await self._write(shop, marker, f"/api/inventory/{item_id}/adjust", body, undo=undo, url=url)

    async def make(self, shop: Shop) -> Write:
        """Begin to count one more thing."""
        marker = f"w{next(_names)}"
        body = {"name": marker, "quantity": BEGAN_WITH, "teamId": shop.team_id}
        return await self._write(shop, marker, "/api/inventory", body)

    async def _write(
        self, shop: Shop, marker: str, path: str, body: object, *, undo: bool = False, url: str | None = None
    ) -> Write:
        began = time.monotonic()
        offset, outcome = 0, "unknown"
        try:
            answer = await self._post(shop, path, body, url)
        except httpx.TransportError as lost:
            self.statuses[type(lost).__name__] += 1
        else:
            status, code = answer.status_code, _code(answer)
            # A machine that has no time for them refuses some, which is a promise of its own (overload).
            self.statuses[code if code == "overloaded" else status] += 1
            if status >= 500:
                self.failed[code] += 1
            if answer.is_success:
                outcome, offset = "committed", _told(answer, shop.channel)
            elif answer.status_code == 409 and undo:
                outcome = "undone"
        self.longest_s = max(self.longest_s, time.monotonic() - began)
        write = Write(marker, shop.channel, outcome, offset, time.monotonic(), began)  # type: ignore[arg-type]
        self.writes.append(write)
        return write

    async def _post(self, shop: Shop, path: str, body: object, url: str | None) -> httpx.Response:
        """Ask an app; the next one where the connection was refused. Raises as httpx does."""
        headers = {"Authorization": f"Bearer {await shop.owner.token()}"}
        self._turn += 1
        apps = self.field.apps
        in_turn = [apps[(self._turn + step) % len(apps)].url for step in range(len(apps))]
        *others, last = [url] if url is not None else in_turn
        for where in others:
            try:
                return await self.field.http.post(where + path, json=body, headers=headers)
            except httpx.ConnectError:
                self.statuses["tried the next app"] += 1
        return await self.field.http.post(last + path, json=body, headers=headers)

    async def go_on(
        self, shops: Sequence[Shop], done: asyncio.Event, *, writers: int, pause_s: float
    ) -> None:
        """Writers side by side, each with an item of its own, until `done`."""
        places = [(shop, each) for shop in shops for each in shop.items]

        async def one(number: int) -> None:
            shop, item_id = places[number % len(places)]
            count = 0
            while not done.is_set():
                count += 1
                if count % MAKE_EVERY == 0:
                    write = await self.make(shop)
                else:
                    write = await self.change(shop, item_id, undo=count % UNDO_EVERY == 1)
                # Nobody hammers at a server that says it cannot.
                wait_s = pause_s if write.outcome != "unknown" else max(pause_s, TRY_AGAIN_AFTER_S)
                await asyncio.sleep(wait_s)

        await asyncio.gather(*(one(number) for number in range(writers)))

    async def by_process(self, shop: Shop, command: Sequence[str], **job: Any) -> int:
        """Run a writer process (tests/faults/writer.py) to its end and note what it did; its exit status."""
        name = f"p{next(_names)}"
        given = {
            "database_url": self.field.servers.database_url,
            "redis_url": self.field.servers.redis_url,
            "user_id": shop.owner.person.id,
            "items": shop.items,
            "name": name,
            **job,
        }
        process = await asyncio.create_subprocess_exec(
            *command, msgspec.json.encode(given).decode(), stdout=asyncio.subprocess.PIPE, cwd=ROOT
        )
        assert process.stdout is not None
        begun: dict[str, float] = {}
        try:
            async with asyncio.timeout(REQUEST_WITHIN_S * 6):
                async for line in process.stdout:
                    said = msgspec.json.decode(line)
                    if "begin" in said:
                        begun[said["begin"]] = time.monotonic()
                        continue
                    del begun[said["end"]]
                    self.writes.append(Write(said["end"], shop.channel, said["outcome"], 0, said["at"]))
                status = await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        # What it died over may be committed or not.
        self.writes += [Write(marker, shop.channel, "unknown", 0, at) for marker, at in begun.items()]
        return status


def _told(answer: httpx.Response, channel: str) -> int:
    """The offset that X-Stream-Position tells for the channel."""
    for told in answer.headers["X-Stream-Position"].split():
        name, _, offset = told.rpartition("@")
        if name == channel:
            return int(offset)
    raise AssertionError(f"no position of {channel} in {answer.headers['X-Stream-Position']!r}")


def _code(answer: httpx.Response) -> str:
    """What a refusal is called; nothing for what is none."""
    code: str = answer.json()["code"] if answer.is_error else ""
    return code
