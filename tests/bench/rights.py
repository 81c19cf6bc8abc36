"""Rights: what it costs to ask for the caller's role each time, in CPU of the app and of Postgres together.

    view, list      GET of one item, and of a page of 20, as the product answers them
    remembered      the product: one person, one request after another, so nearly all roles are remembered
    asked           the same product without its memory (asking.py): each request reads the role

Both run beside each other, in turns, each with a Postgres of its own. Somebody who sends one request a second
gets nothing from that memory, and costs what `asked` says.
"""

import asyncio
from typing import Final

import httpx

from tests.bench.harness import Broken, Figure, Product, module, product, table
from tests.bench.people import Someone, settle

ROUNDS: Final = 9
REQUESTS: Final = 400  # in a round
AT_ONCE: Final = 8
AT_MOST_S: Final = 400.0
ITEMS: Final = 20


async def measure() -> None:
    """Print requests per second of CPU. Raises Broken where one was not answered with 200."""
    async with (
        asyncio.timeout(AT_MOST_S),
        product(command=module("asking")) as asking,
        product() as remembering,
    ):
        sides = {"asked": asking, "remembered": remembering}
        clients = {name: await _client(served) for name, served in sides.items()}
        figures: dict[tuple[str, str], list[dict[str, float]]] = {}
        for number in range(ROUNDS + 1):
            for what in ("view", "list"):
                for name, served in sides.items():
                    used = await _round(served, *clients[name], what)
                    if number:  # the first is to warm up
                        figures.setdefault((what, name), []).append(used)
        for client, _ in clients.values():
            await client.aclose()
    _print(figures)


async def _client(served: Product) -> tuple[httpx.AsyncClient, str]:
    """Somebody with a team of ITEMS items, and the id of one of them."""
    [ann] = await settle(served.database_url, 1)
    client = httpx.AsyncClient(
        base_url=f"{served.url}/api", headers={"Authorization": f"Bearer {ann.token()}"}, timeout=30
    )
    for number in range(ITEMS):
        answer = await client.post("/inventory", json=_item(ann, number))
        if answer.status_code != 201:
            raise Broken(answer.text)
    item_id: str = answer.json()["data"]["id"]
    return client, item_id


def _item(owner: Someone, number: int) -> dict[str, object]:
    return {"name": f"Tea {number}", "quantity": number, "teamId": owner.personal_team_id}


async def _round(served: Product, client: httpx.AsyncClient, item_id: str, what: str) -> dict[str, float]:
    path = f"/inventory/{item_id}" if what == "view" else f"/inventory?limit={ITEMS}"

    async def some() -> None:
        for _ in range(REQUESTS // AT_ONCE):
            answer = await client.get(path)
            if answer.status_code != 200:
                raise Broken(answer.text)

    await served.process.stand_still()
    before = served.cpu()
    await asyncio.gather(*(some() for _ in range(AT_ONCE)))
    await served.process.stand_still()
    return {part: used - before[part] for part, used in served.cpu().items()}


def _print(figures: dict[tuple[str, str], list[dict[str, float]]]) -> None:
    print(f"{REQUESTS} requests a round, {AT_ONCE} at once; median of {ROUNDS} rounds (least to most)\n")
    rows: list[tuple[str, ...]] = [("", "requests a CPU second", "app ms", "Postgres ms", "of asked")]
    rates: dict[tuple[str, str], list[float]] = {}
    for (what, name), rounds in figures.items():
        rates[what, name] = [REQUESTS / (used["app"] + used["Postgres"]) for used in rounds]
        each = (
            Figure([1e3 * used[part] / REQUESTS for used in rounds]).said("{:.2f}")
            for part in ("app", "Postgres")
        )
        gain = Figure.ratio(rates[what, name], rates[what, "asked"]).said("{:.2f}")
        rows.append((f"{what}, {name}", Figure(rates[what, name]).said("{:,.0f}"), *each, gain))
    table(rows)
