"""REST with everything on: view, list of 20 and create, beside PocketBase, in requests per second of CPU.

    Maycole       token, session, rate limit, policy, audit row, stream entries; the CPU of app, Postgres and
                  Redis together
    PocketBase    token, owner rule, SQLite in the same process (peers/pocketbase.py)

They run in turns, a round of each right after the other, so that what the machine does meanwhile hits both.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import httpx

from tests.bench.harness import Broken, Figure, Product, product, table
from tests.bench.peers import pocketbase
from tests.bench.people import settle

ROUNDS: Final = 7
REQUESTS: Final = 800  # in a round
AT_ONCE: Final = 16
AT_MOST_S: Final = 540.0
ITEMS: Final = 20

ITEM: Final = {
    "sku": "",
    "category": "tea",
    "unit": "box",
    "quantity": 12,
    "attributes": {"shelf": "A3", "origin": "Assam"},
}


@dataclass
class Peer:
    """One server: how it is asked for each thing, and how its CPU is read."""

    name: str
    http: httpx.AsyncClient
    view: str
    page: str
    collection: str
    item: Callable[[int], dict[str, Any]]
    good: int  # the status of what is made
    used: Callable[[], dict[str, float]]
    rest: Callable[[], Awaitable[None]]

    async def ask(self, what: str, number: int) -> None:
        """One request. Raises Broken where the answer is not the right one."""
        if what == "create":
            answer = await self.http.post(self.collection, json=self.item(number))
            right = answer.status_code == self.good
        else:
            answer = await self.http.get(self.view if what == "view" else self.page)
            right = answer.status_code == 200
        if not right:
            raise Broken(f"{self.name}: {what}: {answer.text}")

    async def round(self, what: str, first: int) -> dict[str, float]:
        """The CPU seconds of REQUESTS of them, by process."""

        async def some(lane: int) -> None:
            for number in range(first + lane, first + REQUESTS, AT_ONCE):
                await self.ask(what, number)

        await self.rest()
        before = self.used()
        await asyncio.gather(*(some(lane) for lane in range(AT_ONCE)))
        await self.rest()
        return {part: used - before[part] for part, used in self.used().items()}


async def measure() -> None:
    """Print requests per second of CPU. Raises Broken where an answer was not the right one."""
    async with asyncio.timeout(AT_MOST_S), _maycole() as ours, _pocketbase() as theirs:
        peers = (ours, theirs)
        figures: dict[tuple[str, str], list[dict[str, float]]] = {}
        numbers = 0
        for turn in range(ROUNDS + 1):
            for what in ("view", "list", "create"):
                for peer in peers:
                    numbers += REQUESTS
                    used = await peer.round(what, numbers)
                    if turn:  # the first is to warm up
                        figures.setdefault((what, peer.name), []).append(used)
    _print(figures)


@contextlib.asynccontextmanager
async def _maycole() -> AsyncIterator[Peer]:
    async with product() as served, _signed_in(served) as (http, team_id):

        def item(number: int) -> dict[str, Any]:
            return {
                **ITEM,
                "name": f"Tea {number}",
                "sku": f"T{number}",
                "lowStockThreshold": 3,
                "teamId": team_id,
            }

        made = [(await http.post("/inventory", json=item(number))).json()["data"] for number in range(ITEMS)]
        yield Peer(
            "Maycole",
            http,
            f"/inventory/{made[-1]['id']}",
            f"/inventory?limit={ITEMS}",
            "/inventory",
            item,
            201,
            served.cpu,
            served.process.stand_still,
        )


@contextlib.asynccontextmanager
async def _signed_in(served: Product) -> AsyncIterator[tuple[httpx.AsyncClient, str]]:
    [ann] = await settle(served.database_url, 1)
    headers = {"Authorization": f"Bearer {ann.token()}"}
    async with httpx.AsyncClient(base_url=f"{served.url}/api", headers=headers, timeout=30) as http:
        yield http, ann.personal_team_id


@contextlib.asynccontextmanager
async def _pocketbase() -> AsyncIterator[Peer]:
    async with pocketbase.serving() as (process, http, user_id):
        path = "/collections/items/records"

        def item(number: int) -> dict[str, Any]:
            return {
                **ITEM,
                "name": f"Tea {number}",
                "sku": f"T{number}",
                "low_stock_threshold": 3,
                "owner": user_id,
            }

        made = [(await http.post(path, json=item(number))).json() for number in range(ITEMS)]
        yield Peer(
            "PocketBase",
            http,
            f"{path}/{made[-1]['id']}",
            # Ours counts no total either.
            f"{path}?perPage={ITEMS}&sort=-created&skipTotal=1",
            path,
            item,
            200,
            lambda: {"app": process.cpu_s()},
            process.stand_still,
        )


def _print(figures: dict[tuple[str, str], list[dict[str, float]]]) -> None:
    print(f"{REQUESTS} requests a round, {AT_ONCE} at once; median of {ROUNDS} rounds (least to most)\n")
    rows: list[tuple[str, ...]] = [("", "requests a CPU second", "CPU ms of a request", "of PocketBase")]
    rates = {key: [REQUESTS / sum(used.values()) for used in rounds] for key, rounds in figures.items()}
    for (what, name), rounds in figures.items():
        each = ", ".join(
            f"{part} {Figure([1e3 * used[part] / REQUESTS for used in rounds]).middle:.2f}"
            for part in rounds[0]
        )
        ratio = Figure.ratio(rates[what, name], rates[what, "PocketBase"]).said("{:.2f}")
        rows.append((f"{what}, {name}", Figure(rates[what, name]).said("{:,.0f}"), each, ratio))
    table(rows)
