"""Sides: a server with its load client, and how messages get to it. The product is one, each peer another.

A round tells how many deliveries it makes for one second of its server's CPU, and that every connection got
every message once and in order, or there is no figure.
"""

import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import msgspec

from app.supervise import Supervision
from channels import json_format
from channels.announcing import announcing
from domain import channels, db, ids, streams
from domain.streams import Draft, Entry
from tests.bench.harness import Broken, Process, Product, cpu_s, module, running
from tests.factories import Api

PAYLOAD_BYTES: Final = 256
IN_FLIGHT: Final = 1_024_000  # deliveries on their way at most
AHEAD_MAX: Final = 1_024
STEP: Final = 64
READY_WITHIN_S: Final = 120.0

Publish = Callable[[int, int], Awaitable[None]]  # the first offset, and how many


@dataclass
class Round:
    """What one round showed: deliveries, CPU seconds of the server, of what is beside it, frames written."""

    deliveries: int
    cpu_s: float
    beside_s: float
    frames: int

    @property
    def rate(self) -> float:
        return self.deliveries / max(self.cpu_s, 0.01)  # a tick of the kernel's clock


class Side:
    """`beside` is the pid of a server that the one under measure stands on, counted apart."""

    def __init__(
        self,
        server: Process,
        clients: Process,
        at: int,
        followers: int,
        publish: Publish,
        *,
        beside: int | None = None,
    ) -> None:
        self._server = server
        self._clients = clients
        self._at = at
        self._followers = followers
        self._publish = publish
        self._beside = beside

    async def round(self, messages: int, *, one_at_a_time: bool) -> Round:
        """Publish so many messages, wait until all connections have them. Raises Broken."""
        step = 1 if one_at_a_time else STEP
        begin, end = self._at, self._at + messages
        self._clients.tell(round={"first": begin + 1, "last": end, "step": step})
        await self._clients.hear()
        await self._server.stand_still()
        before = self._used()
        ahead = 1 if one_at_a_time else max(STEP, min(AHEAD_MAX, IN_FLIGHT // self._followers))
        await self._run(end, per_go=step, ahead=ahead)
        await self._server.stand_still()
        after = self._used()
        self._clients.tell(report=True)
        report = (await self._clients.hear())["report"]
        if report["messages"] != messages * self._followers:
            raise Broken(f"{report['messages']} deliveries instead of {messages * self._followers}")
        if one_at_a_time and report["frames"] != report["messages"]:
            raise Broken("messages that were sent one at a time came together")
        return Round(report["messages"], after[0] - before[0], after[1] - before[1], report["frames"])

    def _used(self) -> tuple[float, float]:
        return self._server.cpu_s(), cpu_s(self._beside) if self._beside is not None else 0.0

    async def _run(self, end: int, *, per_go: int, ahead: int) -> None:
        """Publish up to `end`, at most `ahead` beyond what every connection has received."""
        sent = received = self._at
        while received < end:
            while sent < end and sent + per_go <= received + ahead:
                count = min(per_go, end - sent)
                await self._publish(sent + 1, count)
                sent += count
            received = (await self._clients.hear())["level"]
        self._at = end


@contextlib.asynccontextmanager
async def clients(
    dialect: str, port: int, followers: int, channel: str, token: str = ""
) -> AsyncIterator[tuple[Process, int]]:
    """The load client, connected and subscribed, and the offset at which it stands."""
    given = [dialect, "127.0.0.1", str(port), str(followers), channel, token]
    async with running("the load client", *module("load_client"), *given) as process:
        yield process, (await process.hear(READY_WITHIN_S))["offset"]


@contextlib.asynccontextmanager
async def product_side(served: Product, followers: int) -> AsyncIterator[Side]:
    """The product, from Redis on: entries are committed to its log here and announced through Redis."""
    async with httpx.AsyncClient(base_url=served.url, timeout=10) as http:
        ann = await Api(http).person("Ann")
        channel = channels.inventory(await Api(http).team(ann))
    port = urlsplit(served.url).port
    assert port is not None, "the product says where it listens"
    async with (
        clients("centrifugal", port, followers, channel, ann.token) as (crowd, at),
        publishing(served) as announce,
    ):

        async def publish(first: int, count: int) -> None:
            async with db.transaction() as unit:
                entries = await streams.append(unit.connection, [_draft(channel) for _ in range(count)])
            if entries[0].offset != first:
                raise Broken(f"somebody else writes to {channel}")
            announce(entries)

        yield Side(served.process, crowd, at, followers, publish, beside=served.redis_pid)


def pushed(channel: str, offset: int) -> bytes:
    """What the product would push for one entry at this offset."""
    draft = _draft(channel)
    return json_format.published(
        channel, json_format.publication(Entry(channel, "", offset, draft.id, draft.type, draft.data))
    )


@contextlib.asynccontextmanager
async def publishing(served: Product) -> AsyncIterator[Callable[[Sequence[Entry]], None]]:
    """What announces entries through Redis, as a process of the product does after each commit."""
    supervision = Supervision(stop=partial(signal.raise_signal, signal.SIGTERM))
    await db.open_pool(served.database_url, size=2)
    try:
        async with announcing(served.redis_url, supervision.beside) as announce:
            yield announce
    finally:
        await db.close_pool()


def _draft(channel: str) -> Draft:
    event_id = ids.new("evt")
    return Draft(channel, event_id, "inventory.adjusted", _data(event_id))


def _data(event_id: str) -> str:
    """An entry's JSON text, exactly PAYLOAD_BYTES long."""
    event: dict[str, Any] = {"type": "inventory.adjusted", "id": event_id, "data": ""}
    event["data"] = "x" * (PAYLOAD_BYTES - len(msgspec.json.encode(event)))
    return msgspec.json.encode(event).decode()
