"""Swarms under our hand: the process of tests/bench/swarm.py, for people settled in the database."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from tests.bench.harness import Process, Product, module, running
from tests.bench.people import Someone
from tests.ground import temporary_ground

COME_WITHIN_S: Final = 180.0


@dataclass
class Swarm:
    """`come` and `vanish` wait until that is done."""

    process: Process

    async def come(self, count: int, *, first: int = 0, at_once: int = 100) -> float:
        """Connect clients `first` to `first + count`, at most `at_once` on their way; the seconds it took."""
        self.process.tell(come={"first": first, "count": count, "at_once": at_once})
        said: float = (await self.process.hear(COME_WITHIN_S))["seconds"]
        return said

    async def vanish(self) -> int:
        """All sockets are lost at once; how many."""
        self.process.tell(vanish=True)
        gone: int = (await self.process.hear())["gone"]
        return gone

    async def report(self) -> dict[str, Any]:
        self.process.tell(report=True)
        report: dict[str, Any] = (await self.process.hear())["report"]
        return report


@contextlib.asynccontextmanager
async def swarm(url: str, tokens: Sequence[str]) -> AsyncIterator[Swarm]:
    """A client for each token, none of them connected yet."""
    where = urlsplit(url)
    with temporary_ground("bench") as place:
        file = place / "tokens"
        file.touch(mode=0o600)
        file.write_text("\n".join(tokens))
        given = [str(where.hostname), str(where.port), str(file)]
        async with running("the swarm", *module("swarm"), *given) as process:
            await process.hear()
            yield Swarm(process)


@contextlib.asynccontextmanager
async def swarm_of(served: Product, people: Sequence[Someone]) -> AsyncIterator[Swarm]:
    async with swarm(served.url, [one.token() for one in people]) as clients:
        yield clients


@contextlib.asynccontextmanager
async def bare(count: int) -> AsyncIterator[tuple[Process, Swarm]]:
    """A bare uvicorn, and a swarm for it."""
    async with running("bare uvicorn", *module("bare_uvicorn")) as server:
        port = (await server.hear())["port"]
        async with swarm(f"http://127.0.0.1:{port}", ["none"] * count) as clients:
            yield server, clients
