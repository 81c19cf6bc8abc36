"""/connection/websocket: where clients come in.

The Origin is checked during the handshake, by an exact list: CORS does not protect websockets. A client that
sends no Origin is no browser, and needs a token all the same.
"""

import logging
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from litestar import WebSocket, websocket

from channels.commands import received
from channels.connection import Connection
from channels.relay import Relay
from channels.wire import EXTENSION, SendWire, Wire

log = logging.getLogger("maycole.endpoint")


class Live(msgspec.Struct):
    """What the endpoint needs of its process, kept in `app.state.live`."""

    relay: Relay
    allowed_origins: Collection[str]
    connections: set[Connection] = msgspec.field(default_factory=set)


@websocket("/connection/websocket")
async def connection_websocket(socket: WebSocket[Any, Any, Any]) -> None:
    """The Centrifugal client protocol, JSON. `connect.token` is an access token."""
    live: Live = socket.app.state.live
    if not origin_allowed(socket.headers.get("origin"), live.allowed_origins):
        await socket.close(code=4403, reason="origin not allowed")
        return
    await socket.accept()
    async with _wire(socket) as wire:
        connection = Connection(wire, live.relay)
        live.connections.add(connection)
        try:
            await _serve(socket, connection)
        finally:
            live.connections.discard(connection)
            connection.left()


def origin_allowed(origin: str | None, allowed: Collection[str]) -> bool:
    """Whether a page from this origin may connect; `null` never may."""
    return origin is None or origin in allowed


async def _serve(socket: WebSocket[Any, Any, Any], connection: Connection) -> None:
    while True:
        event: Any = await socket.receive()
        if event["type"] == "websocket.disconnect":
            return
        data = event.get("text")
        try:
            await received(connection, data.encode() if data is not None else event["bytes"])
        except Exception:
            # The edge: a mistake of ours ends this connection, is told to nobody but us, and harms no other.
            log.exception("a command failed")
            connection.hang_up(3004)


@asynccontextmanager
async def _wire(socket: WebSocket[Any, Any, Any]) -> AsyncIterator[Wire]:
    """The way out: the socket's own transport under our server, ASGI `send` under any other."""
    extensions: dict[str, Any] = socket.scope.get("extensions") or {}
    direct = extensions.get(EXTENSION)
    if direct is not None:
        yield direct
        return
    wire = SendWire(socket.send)
    try:
        yield wire
    finally:
        await wire.ended()
