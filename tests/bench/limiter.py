"""The limiter: what counting a request costs, in CPU of the app, of Redis and of Postgres together.

    counted      GET of a page of 20, as the product answers it, up to a limit that nobody reaches
    uncounted    the same product, which lets everybody in without counting (uncounted.py)

Both run beside each other, in turns, each with a Postgres and a Redis of its own. The bar: counting is at
most a tenth of the list. One at a time is the dearest, since nobody else's question goes with it.
"""

import asyncio
from typing import Final

import httpx

from tests.bench.harness import Broken, Figure, Product, module, product, table
from tests.bench.people import settle

ROUNDS: Final = 7
REQUESTS: Final = 400  # in a round
AT_MOST_S: Final = 600.0
ITEMS: Final = 20
PATH: Final = f"/inventory?limit={ITEMS}"


async def measure() -> None:
    """Print milliseconds of CPU for each request. Raises Broken where one was not answered with 200."""
    async with (
        asyncio.timeout(AT_MOST_S),
        product() as counting,
        product(command=module("uncounted")) as letting,
    ):
        sides = {"counted": counting, "uncounted": letting}
        clients = {name: await _client(served) for name, served in sides.items()}
        figures: dict[tuple[int, str], list[dict[str, float]]] = {}
        for number in range(ROUNDS + 1):
            for at_once in (1, 8, 32):
                for name, served in sides.items():
                    used = await _round(served, clients[name], at_once)
                    if number:  # the first is to warm up
                        figures.setdefault((at_once, name), []).append(used)
        for client in clients.values():
            await client.aclose()
    _print(figures)


async def _client(served: Product) -> httpx.AsyncClient:
    """Somebody with ITEMS items."""
    [ann] = await settle(served.database_url, 1)
    client = httpx.AsyncClient(
        base_url=f"{served.url}/api", headers={"Authorization": f"Bearer {ann.token()}"}, timeout=30
    )
    for number in range(ITEMS):
        item = {"name": f"Tea {number}", "quantity": number, "teamId": ann.personal_team_id}
        answer = await client.post("/inventory", json=item)
        if answer.status_code != 201:
            raise Broken(answer.text)
    return client


async def _round(served: Product, client: httpx.AsyncClient, at_once: int) -> dict[str, float]:
    async def some() -> None:
        for _ in range(REQUESTS // at_once):
            answer = await client.get(PATH)
            if answer.status_code != 200 or "RateLimit" not in answer.headers:
                raise Broken(answer.text)

    await served.process.stand_still()
    before = served.cpu()
    await asyncio.gather(*(some() for _ in range(at_once)))
    await served.process.stand_still()
    done = REQUESTS // at_once * at_once
    return {part: 1e3 * (used - before[part]) / done for part, used in served.cpu().items()}


def _print(figures: dict[tuple[int, str], list[dict[str, float]]]) -> None:
    print(f"{REQUESTS} lists of {ITEMS} a round; median of {ROUNDS} rounds (least to most)\n")
    rows: list[tuple[str, ...]] = [("at once", "app ms", "Redis ms", "Postgres ms", "all ms", "of uncounted")]
    for (at_once, name), rounds in figures.items():
        each = (
            Figure([used[part] for used in rounds]).said("{:.3f}") for part in ("app", "Redis", "Postgres")
        )
        whole = [sum(used.values()) for used in rounds]
        without = [sum(used.values()) for used in figures[at_once, "uncounted"]]
        share = Figure.ratio(whole, without).said("{:.2f}")
        rows.append((f"{at_once}, {name}", *each, Figure(whole).said("{:.3f}"), share))
    table(rows)
