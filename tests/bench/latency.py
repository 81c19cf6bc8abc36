"""Commit to client: how long after a change over REST everyone who follows the team's inventory has it.

WATCHERS clients in teams of 20; writers change stock at a given rate, POST /api/inventory/{id}/adjust, each
change at its appointed time whatever became of those before. The age of a change is measured by each client,
from the time in the entry (taken right before the statement that COMMIT follows) to its receipt.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import psutil

from tests.bench.harness import (
    ANSWER_WITHIN_S,
    Broken,
    Process,
    Product,
    module,
    product,
    running,
    spread,
    table,
)
from tests.bench.people import PER_TEAM, Someone, settle
from tests.factories import api_of
from tests.ground import temporary_ground

WATCHERS: Final = 1_000
RATES: Final = (50, 100, 200)
SECONDS: Final = 12
WRITERS: Final = 16
AT_MOST_S: Final = 200.0


async def measure() -> None:
    """Print the ages at each rate. Raises Broken where a change failed, or did not reach everyone once."""
    rows: list[tuple[str, ...]] = [
        (
            "changes a second",
            "achieved",
            "commit to client, ms",
            "",
            "request to answer, ms",
            "",
            "cores used by",
        ),
        ("", "", "p50", "p99", "p50", "p99", "app, Postgres, Redis, the load"),
    ]
    async with asyncio.timeout(AT_MOST_S), product() as served:
        people = await settle(served.database_url, WATCHERS)
        owners = people[::PER_TEAM]
        requests = await _requests(served, owners)
        async with _watchers(served, people) as watchers:
            for rate in RATES:
                await served.process.stand_still()
                rows.append(await _at(rate, served, watchers, requests))
    print(f"commit to client: {WATCHERS:,} clients in {len(owners)} teams, {SECONDS} s at each rate\n")
    table(rows)
    print("\nevery change reached everyone in its team, once and in order")


async def _at(rate: int, served: Product, watchers: Process, requests: Sequence[bytes]) -> tuple[str, ...]:
    watchers.tell(begin=True)
    await watchers.hear()
    before, began = _cpu(served, watchers), time.perf_counter()
    answers = await _write(served, rate, requests)
    seconds = time.perf_counter() - began
    await served.process.stand_still()
    after = _cpu(served, watchers)
    watchers.tell(end=True)
    seen = (await watchers.hear())["seen"]
    if seen["count"] != len(answers) * PER_TEAM:
        raise Broken(f"{seen['count']} receipts of {len(answers)} changes")
    cores = ", ".join(f"{(after[name] - before[name]) / seconds:.2f}" for name in before)
    took = spread(answers)
    return (
        f"{rate}",
        f"{len(answers) / seconds:.0f}",
        *(f"{said[p]:.1f}" for said in (seen, took) for p in ("p50_ms", "p99_ms")),
        cores,
    )


def _cpu(served: Product, watchers: Process) -> dict[str, float]:
    own = psutil.Process().cpu_times()
    return served.cpu() | {"load": watchers.cpu_s() + own.user + own.system}


async def _write(served: Product, rate: int, requests: Sequence[bytes]) -> list[float]:
    """Send the requests in turn for SECONDS; how long each took from its appointed time, in ms."""
    loop = asyncio.get_running_loop()
    due: asyncio.Queue[tuple[float, bytes] | None] = asyncio.Queue()
    took: list[float] = []
    writers = [asyncio.create_task(_writer(served, due, took)) for _ in range(WRITERS)]
    began = loop.time() + 0.1
    for number in range(rate * SECONDS):
        at = began + number / rate
        await asyncio.sleep(at - loop.time())
        due.put_nowait((at, requests[number % len(requests)]))
    for _ in writers:
        due.put_nowait(None)
    await asyncio.wait_for(asyncio.gather(*writers), ANSWER_WITHIN_S)
    return took


async def _writer(served: Product, due: asyncio.Queue[tuple[float, bytes] | None], took: list[float]) -> None:
    where = urlsplit(served.url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    loop = asyncio.get_running_loop()
    while (given := await due.get()) is not None:
        at, request = given
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            raise Broken(f"a change failed: {head[:200]!r}")
        sizes = [line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        await reader.readexactly(int(sizes[0]))
        took.append(1e3 * (loop.time() - at))
    writer.close()


async def _requests(served: Product, owners: Sequence[Someone]) -> list[bytes]:
    """One change of stock for each team, ready to be sent again and again."""
    requests = []
    async with api_of(served.url) as api:
        for owner in owners:
            token = owner.token()
            body: dict[str, Any] = {"name": "Coffee beans", "quantity": 10, "teamId": owner.team_id}
            answer = await api.call("POST", "/inventory", token=token, json=body)
            if answer.status_code != 201:
                raise Broken(f"no item: {answer.text}")
            change = msgspec.json.encode({"delta": 1, "reason": "received"})
            head = (
                f"POST /api/inventory/{answer.json()['data']['id']}/adjust HTTP/1.1\r\nHost: localhost\r\n"
                f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(change)}\r\n\r\n"
            )
            requests.append(head.encode() + change)
    return requests


@contextlib.asynccontextmanager
async def _watchers(served: Product, people: Sequence[Someone]) -> AsyncIterator[Process]:
    where = urlsplit(served.url)
    with temporary_ground("bench") as place:
        file = place / "who"
        file.touch(mode=0o600)
        file.write_text("\n".join(f"{one.token()} {one.team_id}" for one in people))
        given = [str(where.hostname), str(where.port), str(file)]
        async with running("the watchers", *module("watchers"), *given) as process:
            await process.hear(4 * ANSWER_WITHIN_S)
            yield process
