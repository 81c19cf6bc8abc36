"""The second wall: what row-level security would cost a create and a list, in CPU of app and database.

Two servers on one Postgres, in turns: as shipped, and behind policies on inventory and the audit trail with a
role that owns nothing (walled_server.py). docs/decisions/ has what came of it.
"""

import asyncio
import statistics
import sys
from typing import Final

import asyncpg
import httpx

from tests.bench.harness import SECRET, Broken, Figure, Process, Product, cpu_s, product, running, table
from tests.bench.people import settle
from tests.bench.walled_server import POLICIES
from tests.ground import ENCRYPTION_KEY

ROUNDS: Final = 12
REQUESTS: Final = 300
ROWS: Final = 200


async def measure() -> None:
    """Print CPU microseconds a request, of both, and their ratio. Raises Broken where one is refused."""
    async with product() as served:
        people = await settle(served.database_url, 20)
        owner = people[0]
        connection = await asyncpg.connect(served.database_url)
        await connection.execute(POLICIES)
        await connection.close()
        env = {
            "DATABASE_URL": served.database_url,
            "REDIS_URL": served.redis_url,
            "JWT_SECRET": SECRET,
            "ENCRYPTION_KEY": ENCRYPTION_KEY,
            "HOST": "127.0.0.1",
            "PORT": "0",
            "LOG_LEVEL": "WARNING",
        }
        command = (sys.executable, "-m", "tests.bench.walled_server", "serve")
        async with running("the walled server", *command, env=env) as walled:
            url = (await walled.line()).partition("listening on ")[2]
            async with httpx.AsyncClient(headers={"Authorization": f"Bearer {owner.token()}"}) as client:
                await _measure(served, walled, url, client, owner.team_id)


async def _measure(
    served: Product, walled: Process, walled_url: str, client: httpx.AsyncClient, team_id: str
) -> None:
    sides = {"as shipped": (served.process, served.url), "walled": (walled, walled_url)}
    for _ in range(ROWS):
        await _create(client, served.url, team_id)
    taken: dict[tuple[str, str], list[float]] = {}
    for number in range(ROUNDS + 1):
        for kind, ask in (("list", _list), ("create", _create)):
            for side, (process, url) in sides.items():
                await process.stand_still()
                before = process.cpu_s() + cpu_s(served.postgres_pid)
                await asyncio.gather(*(_many(ask, client, url, team_id, REQUESTS // 4) for _ in range(4)))
                used = process.cpu_s() + cpu_s(served.postgres_pid) - before
                if number:  # the first is to warm up
                    taken.setdefault((kind, side), []).append(used / REQUESTS * 1e6)
    rows = [("", "as shipped, us", "walled, us", "walled / as shipped")]
    for kind in ("list", "create"):
        plain, behind = taken[kind, "as shipped"], taken[kind, "walled"]
        middles = (f"{statistics.median(values):.0f}" for values in (plain, behind))
        rows.append((kind, *middles, Figure.ratio(behind, plain).said("{:.2f}")))
    table(rows)


async def _many(ask, client: httpx.AsyncClient, url: str, team_id: str, times: int) -> None:  # type: ignore[no-untyped-def]
    for _ in range(times):
        await ask(client, url, team_id)


async def _list(client: httpx.AsyncClient, url: str, team_id: str) -> None:
    answer = await client.get(f"{url}/api/inventory?limit=20&teamId={team_id}")
    if len(answer.json().get("data", ())) != 20:
        raise Broken(f"the list is not 20 long: {answer.text[:200]}")


async def _create(client: httpx.AsyncClient, url: str, team_id: str) -> None:
    answer = await client.post(f"{url}/api/inventory", json={"name": "Cup", "quantity": 1, "teamId": team_id})
    if answer.status_code != 201:
        raise Broken(f"nothing was made: {answer.text[:200]}")
