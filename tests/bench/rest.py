"""REST with everything on: view, list of 20 and create, beside PocketBase, in requests per second of CPU.

    Maycole       token, session, rate limit, policy, audit row, stream entries; the CPU of app, Postgres and
                  Redis together
    PocketBase    token, owner rule, SQLite in the same process (peers/pocketbase.py)

They run in turns, a round of each right after the other, so that what the machine does meanwhile hits both.
After the first turn, which is to warm up, Postgres is told how large its tables are by now, as autovacuum
does by itself a little later: until then it plans for the twenty items that there were.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from itertools import product as product_of
from typing import Any, Final

import asyncpg
import httpx
import msgspec

from tests.bench import load_http
from tests.bench.harness import Broken, Figure, Process, Product, module, product, running, table
from tests.bench.peers import pocketbase
from tests.bench.people import settle

ROUNDS: Final = 5
REQUESTS: Final = 1_000  # in a round
AT_MOST_S: Final = 540.0
ITEMS: Final = 20
# A busy server, and one that is asked by somebody alone: there is nobody to share a statement with.
AT_ONCE: Final = (16, 1)

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
    views: list[str]
    page: str
    collection: str
    item: Callable[[int], dict[str, Any]]
    good: int  # the status of what is made
    used: Callable[[], dict[str, float]]
    rest: Callable[[], Awaitable[None]]
    warm: Callable[[], Awaitable[None]]

    def asked(self, what: str, first: int, at_once: int) -> load_http.Round:
        """The requests of a round."""
        method = "POST" if what == "create" else "GET"
        paths = {"view": self.views, "list": [self.page], "create": [self.collection]}[what]
        base = self.http.base_url
        heads = [
            "\r\n".join(
                (
                    f"{method} {base.path.rstrip('/')}{path} HTTP/1.1",
                    f"host: {base.host}:{base.port}",
                    f"authorization: {self.http.headers['authorization']}",
                    "user-agent: bench",
                )
            )
            for path in paths
        ]
        bodies = [""] * REQUESTS
        if what == "create":
            bodies = [msgspec.json.encode(self.item(first + n)).decode() for n in range(REQUESTS)]
        assert base.port is not None, "both listen on a port that the kernel chose"
        return load_http.Round(base.port, heads, bodies, self.good if what == "create" else 200, at_once)

    async def round(self, load: Process, what: str, first: int, at_once: int) -> dict[str, float]:
        """The CPU seconds of REQUESTS of them, by process. Raises Broken for an answer that is wrong."""
        asked = self.asked(what, first, at_once)
        await self.rest()
        before = self.used()
        load.send(msgspec.json.encode(asked) + b"\n")
        said = await load.hear(within_s=load_http.WITHIN_S)
        await self.rest()
        used = {part: now - before[part] for part, now in self.used().items()}
        if said["statuses"] != {str(asked.expected): REQUESTS}:
            raise Broken(f"{self.name}: {what}: {said['statuses']}: {said['example']}")
        return used


async def measure() -> None:
    """Print requests per second of CPU. Raises Broken where an answer was not the right one."""
    async with (
        asyncio.timeout(AT_MOST_S),
        running("the load client", *module("load_http")) as load,
        _maycole() as ours,
        _pocketbase() as theirs,
    ):
        await load.hear()
        figures: dict[tuple[int, str, str], list[dict[str, float]]] = {}
        numbers = 0
        for turn in range(ROUNDS + 1):
            for at_once, what in product_of(AT_ONCE, ("create", "view", "list")):
                for peer in (ours, theirs):
                    numbers += REQUESTS
                    used = await peer.round(load, what, numbers, at_once)
                    if turn:
                        figures.setdefault((at_once, what, peer.name), []).append(used)
            if turn == 0:
                await asyncio.gather(ours.warm(), theirs.warm())
    for at_once in AT_ONCE:
        _print(at_once, {key[1:]: rounds for key, rounds in figures.items() if key[0] == at_once})


@contextlib.asynccontextmanager
async def _maycole() -> AsyncIterator[Peer]:
    async with product(writes_lines=True) as served, _signed_in(served) as (http, team_id):

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
            [f"/inventory/{item['id']}" for item in made],
            f"/inventory?limit={ITEMS}",
            "/inventory",
            item,
            201,
            served.cpu,
            served.process.stand_still,
            partial(_analyze, served.database_url),
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
            [f"{path}/{item['id']}" for item in made],
            # Ours counts no total either.
            f"{path}?perPage={ITEMS}&sort=-created&skipTotal=1",
            path,
            item,
            200,
            lambda: {"app": process.cpu_s()},
            process.stand_still,
            _nothing,
        )


async def _analyze(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute("VACUUM ANALYZE")
    await connection.close()


async def _nothing() -> None:
    """SQLite's planner needs no statistics for what is asked here."""


def _print(at_once: int, figures: dict[tuple[str, str], list[dict[str, float]]]) -> None:
    print(f"\n{REQUESTS} requests a round, {at_once} at once; median of {ROUNDS} rounds (least to most)\n")
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
