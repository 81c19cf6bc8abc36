"""Fan-out: deliveries per second of server CPU, one channel with many followers, beside a bare loop.

The product is measured from Redis on: real entries are committed to its log by this process and announced
through Redis, and the server under measure hears, orders, frames and writes them. The bare loop writes frames
of the same size to as many connections, once per connection and message, with the same client.

    as fast as it goes   as many messages on their way as AHEAD allows: the product may put them together
    one at a time        the next message when every connection has the last one: nothing can be together
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import msgspec

from channels import json_format
from channels.bus import Bus, Listener
from channels.encoding import websocket_frame
from domain import channels, db, ids, streams
from domain.streams import Draft, Entry
from tests.bench.harness import Broken, Figure, Process, Product, module, product, running, table
from tests.factories import Api

FOLLOWERS: Final = 1_000
PAYLOAD_BYTES: Final = 256
PER_COMMIT: Final = 64
AHEAD: Final = 1_024
STEP: Final = 64
ROUNDS: Final = 5
MESSAGES: Final = {
    # figure: the product's messages per round, the bare loop's. About two seconds of CPU each.
    "as fast as it goes": (8_192, 256),
    "one at a time": (256, 256),
}
AT_MOST_S: Final = 200.0


class Side:
    """A server, its load client, and how messages get to it."""

    def __init__(
        self, server: Process, clients: Process, at: int, publish: Callable[[int, int], Awaitable[None]]
    ) -> None:
        self._server = server
        self._clients = clients
        self._at = at
        self._publish = publish

    async def round(self, messages: int, *, one_at_a_time: bool) -> tuple[float, float]:
        """Deliveries per second of server CPU, and messages per frame. Raises Broken."""
        step = 1 if one_at_a_time else STEP
        begin, end = self._at, self._at + messages
        self._clients.tell(round={"first": begin + 1, "last": end, "step": step})
        await self._clients.hear()
        await self._server.stand_still()
        before = self._server.cpu_s()
        await self._run(end, per_go=step, ahead=1 if one_at_a_time else AHEAD)
        await self._server.stand_still()
        used = self._server.cpu_s() - before
        self._clients.tell(report=True)
        report = (await self._clients.hear())["report"]
        if report["messages"] != messages * FOLLOWERS:
            raise Broken(f"{report['messages']} deliveries instead of {messages * FOLLOWERS}")
        if one_at_a_time and report["frames"] != report["messages"]:
            raise Broken("messages that were sent one at a time came together")
        return report["messages"] / used, report["messages"] / report["frames"]

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


async def measure() -> None:
    """Print the figures. Raises Broken where deliveries were lost, doubled or out of order."""
    rates: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in MESSAGES}
    together: list[float] = []
    async with (
        asyncio.timeout(AT_MOST_S),
        product() as served,
        _product_side(served) as (ours, channel),
        _bare_side(channel) as bare,
    ):
        for number in range(ROUNDS + 1):
            for name, (many, few) in MESSAGES.items():
                alone = name == "one at a time"
                rate, per_frame = await ours.round(many, one_at_a_time=alone)
                peer, _ = await bare.round(few, one_at_a_time=alone)
                if number == 0:
                    continue  # to warm up
                rates[name][0].append(rate)
                rates[name][1].append(peer)
                if not alone:
                    together.append(per_frame)
    _print(rates, together)


def _print(rates: dict[str, tuple[list[float], list[float]]], together: list[float]) -> None:
    print(f"fan-out, 1 channel x {FOLLOWERS:,} followers x {PAYLOAD_BYTES} bytes, through Redis")
    print(f"deliveries per second of server CPU, median of {ROUNDS} interleaved rounds (least to most)\n")
    rows = [("", "Maycole", "bare uvloop, a write each", "ratio")]
    for name, (ours, bare) in rates.items():
        ratio = Figure.ratio(ours, bare).said("{:.2f}")
        rows.append((name, Figure(ours).said("{:,.0f}"), Figure(bare).said("{:,.0f}"), ratio))
    table(rows)
    print(f"\nmessages per frame, as fast as it goes: {Figure(together).said('{:.0f}').strip()}")
    print("every connection received every offset once and in order")


@contextlib.asynccontextmanager
async def _product_side(served: Product) -> AsyncIterator[tuple[Side, str]]:
    async with httpx.AsyncClient(base_url=served.url, timeout=10) as http:
        ann = await Api(http).person("Ann")
        channel = channels.inventory(await Api(http).team(ann))
    async with _clients(served.url, channel, ann.token) as (clients, at), _publishing(served) as announce:

        async def publish(first: int, count: int) -> None:
            async with db.transaction() as unit:
                entries = await streams.append(unit.connection, [_draft(channel) for _ in range(count)])
            if entries[0].offset != first:
                raise Broken(f"somebody else writes to {channel}")
            announce(entries)

        yield Side(served.process, clients, at, publish), channel


@contextlib.asynccontextmanager
async def _bare_side(channel: str) -> AsyncIterator[Side]:
    async with running("the bare loop", *module("bare_loop")) as server:
        port = (await server.hear())["port"]

        async def publish(first: int, count: int) -> None:
            offsets = range(first, first + count)
            server.tell(write={"frames": [_frame(channel, offset).hex() for offset in offsets]})

        async with _clients(f"http://127.0.0.1:{port}", channel, "") as (clients, at):
            yield Side(server, clients, at, publish)


@contextlib.asynccontextmanager
async def _clients(url: str, channel: str, token: str) -> AsyncIterator[tuple[Process, int]]:
    """The load client, connected and subscribed, and the offset at which it stands."""
    where = urlsplit(url)
    given = [str(where.hostname), str(where.port), str(FOLLOWERS), channel, token]
    async with running("the load client", *module("load_client"), *given) as clients:
        yield clients, (await clients.hear())["offset"]


@contextlib.asynccontextmanager
async def _publishing(served: Product) -> AsyncIterator[Callable[[list[Entry]], None]]:
    """What announces entries through Redis, as a process of the product does after each commit."""
    deaf = Listener(
        on_publication=lambda *_: None,
        on_push=lambda *_: None,
        on_head=lambda _: None,
        on_link=lambda _: None,
    )
    bus = Bus(served.redis_url, deaf)
    await db.open_pool(served.database_url, size=2)
    sending = asyncio.create_task(bus.run_publisher())
    try:
        yield bus.announce
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await bus.close()
        await db.close_pool()


def _draft(channel: str) -> Draft:
    event_id = ids.new("evt")
    return Draft(channel, event_id, "inventory.adjusted", _data(event_id))


def _data(event_id: str) -> str:
    """An entry's JSON text, exactly PAYLOAD_BYTES long."""
    event: dict[str, Any] = {"type": "inventory.adjusted", "id": event_id, "data": ""}
    event["data"] = "x" * (PAYLOAD_BYTES - len(msgspec.json.encode(event)))
    return msgspec.json.encode(event).decode()


def _frame(channel: str, offset: int) -> bytes:
    """What the product would write for one entry at this offset."""
    draft = _draft(channel)
    entry = Entry(channel, "", offset, draft.id, draft.type, draft.data)
    return websocket_frame(json_format.published(channel, json_format.publication(entry)))
