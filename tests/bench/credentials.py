"""Credentials: how long it takes to know who is asking, in microseconds, one question after another.

    decoded     the signature of an access token, verified as the first time
    remembered  the same token again
    nothing     `SELECT 1` through the pool: the least that any question to Postgres takes
    session     whom a session stands for, asked of Postgres; an API key likewise

All in turns within one run; the figure is the median of the rounds.
"""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Final

from app.embedded import Embedded
from app.migrate import migrate
from domain import db, keys
from domain.actor import Actor
from domain.auth import api_keys, credentials, service, tokens
from domain.auth.api_keys_model import NewApiKey
from domain.auth.model import Registration
from tests.bench.harness import SECRET
from tests.ground import temporary_ground

ROUNDS: Final = 15
AT_ONCE: Final = 400


async def measure() -> None:
    """Print the cost of each."""
    keys.install(SECRET)
    with temporary_ground("bench") as place, Embedded(place / "servers", durable=False) as servers:
        assert servers.database_url is not None
        await migrate(servers.database_url)
        await db.open_pool(servers.database_url)
        try:
            await _measure()
        finally:
            await db.close_pool()


async def _measure() -> None:
    ann = Registration(email="ann@example.org", password="correct horse battery", name="Ann")
    begun = await service.register(Actor(), ann)
    caller = Actor(user_id=begun.user.id, session_id=begun.session_id)
    key = await api_keys.create(caller, NewApiKey(name="bench", scopes=["inventory:read"]))
    nobody = Actor(ip="127.0.0.1")
    by_session, by_key = tokens.verify(begun.access_token), credentials.claims(key.key, "127.0.0.1")

    async def decoded() -> None:
        tokens._decoded(begun.access_token, keys.signing())

    async def remembered() -> None:
        tokens.verify(begun.access_token)

    async def session() -> None:
        await credentials.identify(by_session, nobody)

    async def of_key() -> None:
        await credentials.identify(by_key, nobody)

    async def nothing() -> None:
        await db.fetchval("SELECT 1")

    asked: dict[str, Callable[[], Awaitable[None]]] = {
        "decoded": decoded,
        "remembered": remembered,
        "nothing": nothing,
        "session": session,
        "API key": of_key,
    }
    taken: dict[str, list[float]] = {name: [] for name in asked}
    for _ in range(ROUNDS):
        for name, ask in asked.items():
            taken[name].append(await _microseconds(ask))
    print(table_of({name: statistics.median(times) for name, times in taken.items()}))


async def _microseconds(ask: Callable[[], Awaitable[None]]) -> float:
    await asyncio.sleep(0)
    began = time.perf_counter()
    for _ in range(AT_ONCE):
        await ask()
    return (time.perf_counter() - began) / AT_ONCE * 1e6


def table_of(figures: dict[str, float]) -> str:
    return "\n".join(f"{name:<12}{figure:>8.1f} us" for name, figure in figures.items())
