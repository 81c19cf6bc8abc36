"""Enumeration: can somebody tell by the time of an answer whether an address has an account?

The same request for addresses that have one and for addresses that have none, one after the other, in turns.
Told apart means that a stopwatch tells more than a coin: the chance that an answer for a known address took
longer than one for an unknown address, 0.5 where nothing can be told. Beside it is what chance alone shows in
19 of 20 runs. Absolute times say nothing here.
"""

import asyncio
import math
import secrets
import statistics
import time
from collections.abc import Sequence
from typing import Any, Final

import httpx

from tests.bench.harness import Broken, Product, product, table
from tests.factories import PASSWORD

ACCOUNTS: Final = 40
WRONG_EACH: Final = 5  # guesses at one account; ten are free
SOURCES: Final = tuple(f"127.0.0.{number}" for number in range(2, 8))  # a hundred are free for an address
AT_MOST_S: Final = 240.0


async def measure() -> None:
    """Print how far answers for known and unknown addresses can be told apart."""
    async with asyncio.timeout(AT_MOST_S), product() as served:
        rows: list[tuple[str, ...]] = [
            ("", "told apart", "chance alone", "known, median ms", "unknown, median ms")
        ]
        for name, path, body, tries in (
            ("wrong password", "/auth/login", {"password": "not this one, surely"}, WRONG_EACH),
            ("forgotten password", "/auth/password/forgot", {}, 1),
            ("magic link", "/auth/magic-link", {}, 1),
        ):
            known, unknown = await _turns(served, path, body, tries)
            rows.append(_row(name, known, unknown))
    table(rows)


async def _turns(
    served: Product, path: str, body: dict[str, str], tries: int
) -> tuple[list[float], list[float]]:
    known: list[float] = []
    unknown: list[float] = []
    addresses = [f"{secrets.token_hex(8)}@example.org" for _ in range(ACCOUNTS)]
    async with httpx.AsyncClient(base_url=f"{served.url}/api") as client:
        for address in addresses:
            new = {"email": address, "password": PASSWORD, "name": "Ann"}
            if (await client.post("/auth/register", json=new)).status_code != 201:
                raise Broken("nobody can register")
    clients = [_from(served, source) for source in SOURCES]
    try:
        for number in range(ACCOUNTS * tries):
            client = clients[number % len(clients)]
            turns = [
                (known, addresses[number % ACCOUNTS]),
                (unknown, f"{secrets.token_hex(8)}@example.org"),
            ]
            for times, address in turns if number % 2 else reversed(turns):
                times.append(await _timed(client, path, {"email": address, **body}))
    finally:
        for client in clients:
            await client.aclose()
    return known, unknown


def _from(served: Product, source: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=f"{served.url}/api", transport=httpx.AsyncHTTPTransport(local_address=source)
    )


async def _timed(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> float:
    begun = time.perf_counter()
    answer = await client.post(path, json=body)
    took = time.perf_counter() - begun
    if answer.status_code not in (202, 401):
        raise Broken(f"{path} answers {answer.status_code}: {answer.text[:200]}")
    return took


def _row(name: str, known: Sequence[float], unknown: Sequence[float]) -> tuple[str, ...]:
    longer = sum((one > other) + (one == other) / 2 for one in known for other in unknown)
    apart = longer / (len(known) * len(unknown))
    # The standard deviation of Mann and Whitney's U where both come from one distribution.
    spread = math.sqrt((len(known) + len(unknown) + 1) / (12 * len(known) * len(unknown)))
    return (
        name,
        f"{apart:.3f}",
        f"{0.5 - 1.96 * spread:.3f} to {0.5 + 1.96 * spread:.3f}",
        f"{1e3 * statistics.median(known):.2f}",
        f"{1e3 * statistics.median(unknown):.2f}",
    )
