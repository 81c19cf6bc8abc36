"""/connection/websocket: where most clients come in.

The Origin is checked during the handshake, by an exact list: CORS does not protect websockets. A client that
sends no Origin is no browser, and needs a token all the same.

This is plain ASGI: Litestar's routing and wrapping would be a sixth of what a connect costs.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import parse_qs

from litestar.exceptions import NotFoundException
from litestar.types import Receive, Scope, Send

from channels.commands import received
from channels.connection import Connection
from channels.encoding import WEBSOCKET_JSON, WEBSOCKET_JSON_PINGED, WEBSOCKET_PROTOBUF, Encoding
from channels.handshake import PATH
from channels.live import Live
from channels.send_wire import SocketWire
from channels.wire import EXTENSION, Wire
from domain import bugs
from domain.errors import Forbidden

log = logging.getLogger("maycole.endpoint")

PROTOBUF: Final = "centrifuge-protobuf"
JSON: Final = "centrifuge-json"


async def websocket(scope: Scope, receive: Receive, send: Send) -> None:
    """Any websocket: at PATH the Centrifugal client protocol, JSON or Protobuf; elsewhere there is none.

    Raises, before anything is received: NotFoundException, and as `require_allowed` does.
    """
    live: Live = scope["litestar_app"].state.live
    if scope["path"] != PATH:
        raise NotFoundException
    require_allowed(scope)
    assert (await receive())["type"] == "websocket.connect"
    encoding, subprotocol = _chosen(scope)
    await send({"type": "websocket.accept", "subprotocol": subprotocol, "headers": []})
    async with _wire(scope, send, encoding) as wire:
        connection = Connection(wire, encoding, live, dict(scope))
        with live.knowing(connection):
            while (event := await receive())["type"] != "websocket.disconnect":
                await carry_out(connection, _frame(event))


def require_allowed(scope: Scope) -> None:
    """The page that asks may connect. Raises Forbidden `origin_not_allowed`."""
    live: Live = scope["litestar_app"].state.live
    origin = next((value for name, value in scope["headers"] if name == b"origin"), None)
    if not live.allows(origin.decode("latin-1") if origin is not None else None):
        raise Forbidden("Pages from there may not ask this server.", code="origin_not_allowed")


def _chosen(scope: Any) -> tuple[Encoding, str | None]:
    """What the client wants to read, and the subprotocol that it must hear back."""
    offered = scope["subprotocols"]
    if PROTOBUF in offered:
        return WEBSOCKET_PROTOBUF, PROTOBUF
    query = parse_qs(scope["query_string"].decode("latin-1"))
    if ["protobuf"] in (query.get("cf_protocol"), query.get("format")):
        return WEBSOCKET_PROTOBUF, None
    # Frames of its own making need the transport; another server's `send` has no word for a ping.
    pinged = query.get("cf_ws_frame_ping_pong") == ["true"] and EXTENSION in scope.get("extensions", {})
    return WEBSOCKET_JSON_PINGED if pinged else WEBSOCKET_JSON, JSON if JSON in offered else None


def _frame(event: Any) -> bytes:
    text: str | None = event.get("text")
    data: bytes = text.encode() if text is not None else event["bytes"]
    return data


async def carry_out(connection: Connection, frame: bytes) -> None:
    """One frame of a client, on whatever transport."""
    try:
        await received(connection, frame)
    except Exception as error:
        # The edge: a mistake of ours ends this connection, is told to nobody but us, and harms no other.
        log.exception("a command failed")
        bugs.report(error, where="a live command")
        connection.hang_up(3004)


@asynccontextmanager
async def _wire(scope: Any, send: Send, encoding: Encoding) -> AsyncIterator[Wire]:
    """The way out: the socket's own transport under our server, ASGI `send` under any other."""
    extensions: dict[str, Any] = scope.get("extensions") or {}
    direct = extensions.get(EXTENSION)
    if direct is not None:
        yield direct
        return
    wire = SocketWire(send, is_text=encoding is not WEBSOCKET_PROTOBUF)
    try:
        yield wire
    finally:
        await wire.ended()
