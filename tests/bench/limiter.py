"""The limiter: what counting a request costs, in CPU of the app, of Redis and of Postgres together.

    counted      GET of a page of 20, as the product answers it, up to a limit that nobody reaches
    uncounted    the same product, which lets everybody in without counting (uncounted.py)

Both run beside each other, in turns, each with a Postgres and a Redis of its own. The bar: counting is at
most a tenth of the list. Who asks most has most leased (app/pipeline/leases.py); CALLERS in turns, one at a
time, are the dearest: each asks about as often as their limit lets them go on, and for that little is leased.
"""

import asyncio
import itertools
from collections.abc import Sequence
from typing import Final

import httpx

from tests.bench.harness import Broken, Figure, Product, module, product, table
from tests.bench.people import settle

ROUNDS: Final = 4
REQUESTS: Final = 160  # in a round
CALLERS: Final = 10
AT_MOST_S: Final = 400.0
ITEMS: Final = 20
ROWS: Final = {  # how many ask, and how many requests are under way at once
    "one": (1, 1),
    f"{CALLERS} in turns": (CALLERS, 1),
    "one, 16 at once": (1, 16),
}
PATH: Final = f"/inventory?limit={ITEMS}"


async def measure() -> None:
    """Print milliseconds of CPU for each request. Raises Broken where one was not answered with 200."""
    async with (
        asyncio.timeout(AT_MOST_S),
        product() as counting,
        product(command=module("uncounted")) as letting,
    ):
        sides = {"counted": counting, "uncounted": letting}
        crowds = {name: await _crowd(served) for name, served in sides.items()}
        figures: dict[tuple[str, str], list[dict[str, float]]] = {}
        for number in range(ROUNDS + 1):
            for row, (callers, at_once) in ROWS.items():
                for name, served in sides.items():
                    used = await _round(served, crowds[name][:callers], at_once)
                    if number:  # the first is to warm up
                        figures.setdefault((row, name), []).append(used)
        for client in (client for crowd in crowds.values() for client in crowd):
            await client.aclose()
    _print(figures)


async def _crowd(served: Product) -> list[httpx.AsyncClient]:
    """People of one team, which has ITEMS items."""
    people = await settle(served.database_url, CALLERS)
    clients = [
        httpx.AsyncClient(
            base_url=f"{served.url}/api", headers={"Authorization": f"Bearer {one.token()}"}, timeout=30
        )
        for one in people
    ]
    for number in range(ITEMS):
        item = {"name": f"Tea {number}", "quantity": number, "teamId": people[0].team_id}
        answer = await clients[0].post("/inventory", json=item)
        if answer.status_code != 201:
            raise Broken(answer.text)
    return clients


async def _round(served: Product, clients: Sequence[httpx.AsyncClient], at_once: int) -> dict[str, float]:
    turns = itertools.cycle(clients)

    async def some() -> None:
        for _ in range(REQUESTS // at_once):
            answer = await next(turns).get(PATH)
            if answer.status_code != 200 or "RateLimit" not in answer.headers:
                raise Broken(answer.text)

    await served.process.stand_still()
    before = served.cpu()
    await asyncio.gather(*(some() for _ in range(at_once)))
    await served.process.stand_still()
    done = REQUESTS // at_once * at_once
    return {part: 1e3 * (used - before[part]) / done for part, used in served.cpu().items()}


def _print(figures: dict[tuple[str, str], list[dict[str, float]]]) -> None:
    print(f"{REQUESTS} lists of {ITEMS} a round; median of {ROUNDS} rounds (least to most)\n")
    rows: list[tuple[str, ...]] = [
        ("asked by", "app ms", "Redis ms", "Postgres ms", "all ms", "of uncounted")
    ]
    for (row, name), rounds in figures.items():
        each = (
            Figure([used[part] for used in rounds]).said("{:.3f}") for part in ("app", "Redis", "Postgres")
        )
        whole = [sum(used.values()) for used in rounds]
        without = [sum(used.values()) for used in figures[row, "uncounted"]]
        share = Figure.ratio(whole, without).said("{:.2f}")
        rows.append((f"{row}, {name}", *each, Figure(whole).said("{:.3f}"), share))
    table(rows)
