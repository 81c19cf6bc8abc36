"""Transports that only go down: HTTP streaming and server-sent events, for where no websocket gets through.

    POST /connection/http_stream    the body is the first frame; JSON, or Protobuf as application/octet-stream
    GET  /connection/sse            ?cf_connect=<the first frame>; JSON

What the client says later comes up by POST /emulation (channels/emulation.py).
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import Any

from litestar import Request, get, post
from litestar.types import ASGIApp, Receive, Scope, Send

from channels.connection import Connection
from channels.emulation import LIMITED_BY_COMMAND, PROTOBUF, as_it_is, frame_of, is_protobuf
from channels.encoding import SSE, STREAM_JSON, STREAM_PROTOBUF, Encoding
from channels.endpoint import require_allowed
from channels.live import Live
from channels.live_http import EXTENSION, LiveHttp
from channels.protocol import FRAME_BYTES_MAX
from channels.send_wire import StreamWire
from channels.tasks import until_any


@post(
    "/connection/http_stream",
    before_request=as_it_is,
    opt=LIMITED_BY_COMMAND,
    request_max_body_size=FRAME_BYTES_MAX,
    include_in_schema=False,
)
async def connection_http_stream(request: Request[Any, Any, Any]) -> ASGIApp:
    """The Centrifugal client protocol over a response that does not end."""
    require_allowed(request.scope)
    if is_protobuf(request):
        return _stream(STREAM_PROTOBUF, PROTOBUF, await frame_of(request))
    return _stream(STREAM_JSON, "application/json", await frame_of(request))


@get("/connection/sse", before_request=as_it_is, opt=LIMITED_BY_COMMAND, include_in_schema=False)
async def connection_sse(request: Request[Any, Any, Any]) -> ASGIApp:
    """The Centrifugal client protocol as server-sent events."""
    require_allowed(request.scope)
    first = request.query_params.get("cf_connect", "")
    return _stream(SSE, "text/event-stream", first.encode(), preamble=b"\r\n")


def _stream(encoding: Encoding, media_type: str, first: bytes, *, preamble: bytes = b"") -> ASGIApp:
    """A response that ends when the connection does."""

    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        live: Live = scope["litestar_app"].state.live
        await begin_stream(send, media_type)
        await send({"type": "http.response.body", "body": preamble, "more_body": True})
        async with stream_wire(scope, send, encoding) as wire:
            connection = Connection(wire, encoding, live, dict(scope))
            with live.knowing(connection), live.emulation.session(connection) as inbox:
                inbox.put(first)
                await until_any(_left(connection, receive), inbox.serve(), wire.hung_up.wait())

    return respond


async def _left(connection: Connection, receive: Receive) -> None:
    """Until the client is gone; the connection knows it, too, as that of a websocket does."""
    await gone(receive)
    connection.left()


async def begin_stream(send: Send, media_type: str) -> None:
    """The head of a response that does not end by itself."""
    headers = [(b"content-type", media_type.encode()), (b"cache-control", b"no-store")]
    headers.append((b"x-accel-buffering", b"no"))
    await send({"type": "http.response.start", "status": 200, "headers": headers})


@asynccontextmanager
async def stream_wire(scope: Scope, send: Send, encoding: Encoding) -> AsyncIterator[StreamWire]:
    """A wire that has ended when the block has; a client that does not take its last word is cut off."""
    wire = StreamWire(send, encoding)
    extensions: dict[str, Any] = scope.get("extensions") or {}
    http: LiveHttp | None = extensions.get(EXTENSION)
    try:
        with http.carried(wire.drain) if http is not None else nullcontext():
            yield wire
    finally:
        said = await wire.ended()
        if http is not None and not said:
            http.abort()


async def gone(receive: Receive) -> None:
    """Until the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
