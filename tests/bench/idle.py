"""Idle sockets: memory of the app's process for each authenticated socket that follows what the server joins.

Everyone is a person of their own, so three of four channels (user, notifications, personal team) are followed
by nobody else. Beside it a bare uvicorn with the same engine, whose sockets follow nothing. What the kernel
keeps for a socket is in neither.
"""

import asyncio
from typing import Final

import psutil

from tests.bench.harness import Process, product, raise_limits, table
from tests.bench.people import settle
from tests.bench.swarms import Swarm, bare, swarm_of

FIRST: Final = 100  # stay, and are not counted: they warm up
SIZES: Final = (1_000, 10_000)
AT_MOST_S: Final = 280.0
STAY_S: Final = 30.0  # more than the time between two pings


async def measure() -> None:
    """Print KiB a socket. Raises Broken where one was closed while it did nothing."""
    sizes = [size for size in SIZES if size + 500 <= raise_limits()]
    async with asyncio.timeout(AT_MOST_S):
        async with bare(max(sizes)) as (server, strangers):
            limit = await _grow(server, strangers, sizes)
        async with product() as served:
            people = await settle(served.database_url, max(sizes))
            async with swarm_of(served, people) as clients:
                ours = await _grow(served.process, clients, sizes)
                before = served.process.cpu_s()
                await asyncio.sleep(STAY_S)
                idle = (served.process.cpu_s() - before) / STAY_S
                channels = (await clients.report())["channels"]
    print("memory of the server's process for one more idle socket, KiB (growth of its resident set)\n")
    rows = [("sockets", "Maycole, authenticated", "bare uvicorn")]
    rows += [
        (f"{size:,}", f"{mine:.1f}", f"{theirs:.1f}")
        for size, mine, theirs in zip(sizes, ours, limit, strict=True)
    ]
    table(rows)
    print(f"\nchannels followed by each: {channels / max(sizes):.1f}; none was closed in {STAY_S:.0f} idle s")
    print(f"these took {100 * idle:.1f} % of a core (a ping and a pong every 25 s for each)")


async def _grow(server: Process, clients: Swarm, sizes: list[int]) -> list[float]:
    """KiB for one more socket, at each of these sizes."""
    found = []
    await clients.come(FIRST)
    await server.stand_still()
    empty, there = _resident(server), FIRST
    for size in sizes:
        await clients.come(size - there, first=there)
        there = size
        await server.stand_still()
        found.append((_resident(server) - empty) / (size - FIRST) / 1024)
    return found


def _resident(server: Process) -> int:
    """Bytes."""
    size: int = psutil.Process(server.pid).memory_info().rss
    return size
