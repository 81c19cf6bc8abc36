"""Nodes: the live half of a process, several of them in this one, each with a gate and a Redis of its choice.

What production has once a process is here as often as a test needs it: endpoints under the real server, hub,
relay, presence and bus. The log is the one of the app under test, and so is its pool.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, NamedTuple

from litestar import Litestar
from litestar.datastructures import State

from app.pipeline.door import at_the_door
from app.pipeline.errors import HANDLERS
from app.server import Server, address, listening
from channels.budget import Taken
from channels.emulation import Emulation, emulation
from channels.endpoint import websocket
from channels.events import connection_uni_sse
from channels.gate import Gate, Rights
from channels.http_stream import connection_http_stream, connection_sse
from channels.live import Live
from channels.protocol import Refused
from channels.relay import Relay
from domain import db, ids, streams
from domain.auth.tokens import Claims
from domain.channels import Kind
from domain.streams import Draft, Entry
from tests.conformance.profile import OpenGate

NEWEST: Final = Kind("newest", owner="anyone", kept="newest", delta=True)
TAIL: Final = Kind("tail", owner="anyone", kept="nothing", presence=True)
PLAIN: Final = Kind("plain", owner="anyone", size=100)
DELTA: Final = Kind("delta", owner="anyone", delta=True)
OWN: Final = Kind("own", owner="user", joined_by_server=True)
KINDS: Final = {kind.name: kind for kind in (NEWEST, TAIL, PLAIN, DELTA)}


class KindsGate(OpenGate):
    """Whoever says who they are may follow everything: a kind of channel for each thing that may hold.

    A token is the user's name, and `@<second>` where it is not good for ever.
    """

    async def claims(self, token: str, via: Any) -> Claims:
        user, _, until_s = token.partition("@")
        return Claims(user, f"sess_{user}", int(until_s or 0))

    def kind_of(self, channel: str) -> Kind:
        return KINDS.get(channel.partition(":")[0], OWN)

    def may_follow(self, rights: Rights, channel: str, token: str | None = None) -> None:
        if channel.startswith("#") and channel != self.own_channel(rights.identity.user_id):
            raise Refused(103)


class Boundless:
    """A budget (channels/budget.py) for nodes whose tests are about something else."""

    async def take(self, claims: Claims, wanted: int) -> Taken:
        return Taken(wanted)

    async def failed(self, address: str | None) -> Taken:
        return Taken(1)


class Node(NamedTuple):
    """A node that serves."""

    url: str
    live: Live
    server: Server

    async def append(self, channel: str, *data: str) -> list[Entry]:
        """Entries with this JSON, announced like any."""
        async with db.transaction() as unit:
            drafts = [Draft(channel, ids.new("evt"), "test", text) for text in data]
            entries = await streams.append(unit.connection, drafts)
        streams.announce(entries)
        return entries


@contextlib.asynccontextmanager
async def node(
    redis_url: str, gate: Gate, *, rest: Any = None, origins: Sequence[str] = ()
) -> AsyncIterator[Node]:
    """A node that serves until the block ends."""
    relay = Relay(redis_url, gate.kind_of)
    live = Live(relay, gate, rest, Emulation(relay), frozenset(origins), Boundless())
    app = Litestar(
        [connection_http_stream, connection_sse, connection_uni_sse, emulation],
        state=State({"live": live}),
        exception_handlers=HANDLERS,
        openapi_config=None,
    )
    app.asgi_handler = at_the_door(app.asgi_handler, websocket)
    started = asyncio.Event()
    await live.emulation.listen()
    bus = relay.bus
    work = [bus.run_reader(), bus.run_publisher(), relay.run(), relay.presence.run()]
    with listening("127.0.0.1", 0) as listener:
        server = Server(app, on_started=started.set)
        tasks = [asyncio.create_task(task) for task in work]
        serving = asyncio.create_task(server._serve([listener]))
        await started.wait()
        streams.listeners.append(relay.announce)
        try:
            yield Node(address(listener), live, server)
        finally:
            streams.listeners.remove(relay.announce)
            server.should_exit = True
            await serving
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            await bus.close()
            assert {type(outcome) for outcome in outcomes} == {asyncio.CancelledError}, outcomes


async def until(condition: Any, *, within_s: float = 20) -> None:
    """Wait until a condition that nothing tells of is true; it may be a coroutine function."""
    async with asyncio.timeout(within_s):
        while True:
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return
            await asyncio.sleep(0.01)
