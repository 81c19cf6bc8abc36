"""/connection/websocket: where most clients come in.

The Origin is checked during the handshake, by an exact list: CORS does not protect websockets. A client that
sends no Origin is no browser, and needs a token all the same.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from litestar import WebSocket, websocket

from channels.commands import received
from channels.connection import Connection
from channels.encoding import WEBSOCKET_JSON, WEBSOCKET_JSON_PINGED, WEBSOCKET_PROTOBUF, Encoding
from channels.live import Live
from channels.send_wire import SocketWire
from channels.wire import EXTENSION, Wire

log = logging.getLogger("maycole.endpoint")

PROTOBUF = "centrifuge-protobuf"
JSON = "centrifuge-json"


@websocket("/connection/websocket")
async def connection_websocket(socket: WebSocket[Any, Any, Any]) -> None:
    """The Centrifugal client protocol, JSON or Protobuf. `connect.token` is an access token."""
    live: Live = socket.app.state.live
    if not live.allows(socket.headers.get("origin")):
        await socket.close(code=4403, reason="origin not allowed")
        return
    encoding, subprotocol = _chosen(socket)
    await socket.accept(subprotocols=subprotocol)
    async with _wire(socket, encoding) as wire:
        connection = Connection(wire, encoding, live, dict(socket.scope))
        with live.knowing(connection):
            await _serve(socket, connection)


def _chosen(socket: WebSocket[Any, Any, Any]) -> tuple[Encoding, str | None]:
    """What the client wants to read, and the subprotocol that it must hear back."""
    offered = socket.scope["subprotocols"]
    query = socket.query_params
    if PROTOBUF in offered:
        return WEBSOCKET_PROTOBUF, PROTOBUF
    if "protobuf" in (query.get("cf_protocol"), query.get("format")):
        return WEBSOCKET_PROTOBUF, None
    pinged = query.get("cf_ws_frame_ping_pong") == "true"
    return WEBSOCKET_JSON_PINGED if pinged else WEBSOCKET_JSON, JSON if JSON in offered else None


async def _serve(socket: WebSocket[Any, Any, Any], connection: Connection) -> None:
    while True:
        event: Any = await socket.receive()
        if event["type"] == "websocket.disconnect":
            return
        data = event.get("text")
        await carry_out(connection, data.encode() if data is not None else event["bytes"])


async def carry_out(connection: Connection, frame: bytes) -> None:
    """One frame of a client, on whatever transport."""
    try:
        await received(connection, frame)
    except Exception:
        # The edge: a mistake of ours ends this connection, is told to nobody but us, and harms no other.
        log.exception("a command failed")
        connection.hang_up(3004)


@asynccontextmanager
async def _wire(socket: WebSocket[Any, Any, Any], encoding: Encoding) -> AsyncIterator[Wire]:
    """The way out: the socket's own transport under our server, ASGI `send` under any other."""
    extensions: dict[str, Any] = socket.scope.get("extensions") or {}
    direct = extensions.get(EXTENSION)
    if direct is not None:
        yield direct
        return
    wire = SocketWire(socket.send, is_text=encoding is not WEBSOCKET_PROTOBUF)
    try:
        yield wire
    finally:
        await wire.ended()
