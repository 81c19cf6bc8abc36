"""Authenticated connects: handshake, `connect` with a token, and all that the server joins, many at once.

    new      people whose channels nobody followed before: user, notifications, a personal and a shared team
    again    the same people a moment later, with the positions at which they stood

Beside it the same number of handshakes and first answers of a bare uvicorn with the same engine.
"""

import asyncio
from typing import Final

from tests.bench.harness import Figure, Process, Product, product, table
from tests.bench.people import settle
from tests.bench.swarms import Swarm, bare, swarm_of

ROUNDS: Final = 5
CONNECTS: Final = 500  # in a round
AT_ONCE: Final = 100
AT_MOST_S: Final = 280.0
NEW, AGAIN = "new", "again"


async def measure() -> None:
    """Print connects per second of CPU. Raises Broken where a client was refused or closed."""
    new: list[dict[str, float]] = []
    again: list[dict[str, float]] = []
    limit: list[float] = []
    async with (
        asyncio.timeout(AT_MOST_S),
        product() as served,
        bare((ROUNDS + 1) * CONNECTS) as (server, strangers),
    ):
        people = await settle(served.database_url, (ROUNDS + 1) * CONNECTS)
        async with swarm_of(served, people) as clients:
            for number in range(ROUNDS + 1):
                first = number * CONNECTS
                once = await _round(served, clients, first)
                await clients.vanish()
                twice = await _round(served, clients, first)
                await clients.vanish()
                bare_s = await _bare_round(server, strangers, first)
                if number:  # the first is to warm up
                    new.append(once)
                    again.append(twice)
                    limit.append(CONNECTS / bare_s)
            report = await clients.report()
    _print(new, again, limit)
    print(
        f"\nchannels joined by the server for each: {report['channels'] / len(people):.1f}; all recovered:",
        end=" ",
    )
    print("yes" if not report["unrecovered"] else f"no, {report['unrecovered']} not")


async def _round(served: Product, clients: Swarm, first: int) -> dict[str, float]:
    await served.process.stand_still()
    before = served.cpu()
    await clients.come(CONNECTS, first=first, at_once=AT_ONCE)
    await served.process.stand_still()
    return {name: used - before[name] for name, used in served.cpu().items()}


async def _bare_round(server: Process, strangers: Swarm, first: int) -> float:
    await server.stand_still()
    before = server.cpu_s()
    await strangers.come(CONNECTS, first=first, at_once=AT_ONCE)
    await server.stand_still()
    return server.cpu_s() - before


def _print(new: list[dict[str, float]], again: list[dict[str, float]], limit: list[float]) -> None:
    print(f"authenticated connects, {CONNECTS} people a round, {AT_ONCE} at once")
    print(f"a second of the app's CPU, median of {ROUNDS} rounds (least to most); CPU beside it for each\n")
    rows: list[tuple[str, ...]] = [("", "connects a second", "of bare", "app ms", "Postgres ms", "Redis ms")]
    for name, rounds in ((NEW, new), (AGAIN, again)):
        rates = [CONNECTS / used["app"] for used in rounds]
        each = (
            Figure([1e3 * used[part] / CONNECTS for used in rounds]).said("{:.2f}")
            for part in ("app", "Postgres", "Redis")
        )
        rows.append((name, Figure(rates).said("{:,.0f}"), Figure.ratio(rates, limit).said("{:.2f}"), *each))
    rows.append(("bare uvicorn", Figure(limit).said("{:,.0f}"), "", "", "", ""))
    table(rows)
