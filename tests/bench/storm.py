"""A reconnect storm: all clients of a process lose their sockets at once and come back, with their positions.

While they are away every shared team hears of MISSED changes, so that there is something to recover: nobody
may miss one or get one twice (tests/bench/swarm.py), and the log is to be read once for a channel at most.
Somebody else goes on with their requests meanwhile.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import asyncpg
import httpx

from domain import channels, db, ids, streams
from domain.streams import Draft, Entry
from tests.bench.harness import Broken, Product, product, raise_limits, spread, table
from tests.bench.people import Someone, settle
from tests.bench.sides import publishing
from tests.bench.swarms import Swarm, swarm_of

CLIENTS: Final = 5_000
AT_ONCE: Final = 100
MISSED: Final = 3
ASK_EVERY_S: Final = 0.1
AT_MOST_S: Final = 290.0
_READS: Final = """
    SELECT coalesce(sum(calls), 0)::int FROM pg_stat_statements
    WHERE query LIKE '%FROM stream_entries e JOIN stream_heads h%'"""


async def measure() -> None:
    """Print how it went. Raises Broken where anything was missed, doubled or not recovered."""
    count = min(CLIENTS, raise_limits() - 500)
    async with (
        asyncio.timeout(AT_MOST_S),
        product(counts_statements=True) as served,
        publishing(served) as announce,
    ):
        people = await settle(served.database_url, count)
        teams = sorted({one.team_id for one in people})
        async with swarm_of(served, people) as clients:
            first_s = await clients.come(count, at_once=AT_ONCE)
            await served.process.stand_still()
            calm = await _asking(served, people[0], 3.0)
            retries = (await clients.report())["retries"]
            await clients.vanish()
            announce(await _change(teams))
            figures = await _storm(served, clients, people)
            report = await clients.report()
    expected = count * MISSED
    if report["publications"] != expected or report["unrecovered"]:
        raise Broken(f"{report['publications']} of {expected} recovered, {report['unrecovered']} not told")
    figures["retries"] = report["retries"] - retries
    _print(count, len(teams), first_s, calm, figures)


async def _storm(served: Product, clients: Swarm, people: Sequence[Someone]) -> dict[str, Any]:
    connection = await asyncpg.connect(served.database_url)
    try:
        await connection.execute("SELECT pg_stat_statements_reset()")
        before = served.cpu()
        async with _others(served, people[0]) as took:
            back_s = await clients.come(len(people), at_once=AT_ONCE)
        await served.process.stand_still()
        used = {name: cpu - before[name] for name, cpu in served.cpu().items()}
        reads = await connection.fetchval(_READS)
    finally:
        await connection.close()
    return {"back_s": back_s, "used": used, "reads": reads, "took": took}


async def _change(teams: Sequence[str]) -> list[Entry]:
    """MISSED entries on the channel of each team, committed."""
    entries: list[Entry] = []
    for team_id in teams:
        drafts = [
            Draft(channels.team(team_id), event_id, "teams.changed", f'{{"id":"{event_id}"}}')
            for event_id in (ids.new("evt") for _ in range(MISSED))
        ]
        async with db.transaction() as unit:
            entries += await streams.append(unit.connection, drafts)
    return entries


@contextlib.asynccontextmanager
async def _others(served: Product, someone: Someone) -> AsyncIterator[list[float]]:
    """Somebody who asks for their teams all the time; how long each answer took, in ms."""
    took: list[float] = []
    asking = asyncio.create_task(_ask(served, someone, took))
    try:
        yield took
    finally:
        asking.cancel()
        (outcome,) = await asyncio.gather(asking, return_exceptions=True)
        if isinstance(outcome, Exception):
            raise Broken("a request failed meanwhile") from outcome


async def _asking(served: Product, someone: Someone, seconds: float) -> list[float]:
    async with _others(served, someone) as took:
        await asyncio.sleep(seconds)
    return took


async def _ask(served: Product, someone: Someone, took: list[float]) -> None:
    headers = {"Authorization": f"Bearer {someone.token()}"}
    async with httpx.AsyncClient(base_url=served.url, headers=headers, timeout=30) as http:
        while True:
            began = time.perf_counter()
            (await http.get("/api/teams")).raise_for_status()
            took.append(1e3 * (time.perf_counter() - began))
            await asyncio.sleep(ASK_EVERY_S)


def _print(count: int, teams: int, first_s: float, calm: list[float], figures: dict[str, Any]) -> None:
    used, took = figures["used"], figures["took"]
    print(f"a reconnect storm: {count:,} clients, {AT_ONCE} at once, {MISSED} entries missed by each\n")
    table(
        [
            ("all came for the first time in", f"{first_s:.1f} s"),
            ("all were back after", f"{figures['back_s']:.1f} s"),
            ("told to come again", f"{figures['retries']} times"),
            ("CPU of the app, Postgres, Redis", ", ".join(f"{used[part]:.1f} s" for part in used)),
            ("reads of stream_entries", f"{figures['reads']} for {teams} channels that had news"),
            ("GET /api/teams before", _latency(calm)),
            ("GET /api/teams meanwhile", _latency(took)),
        ]
    )
    print("\neveryone recovered what they missed, once and in order")


def _latency(took: list[float]) -> str:
    said = spread(took)
    return f"p50 {said['p50_ms']:.0f} ms, p99 {said['p99_ms']:.0f} ms, {len(took)} requests"
