"""uvicorn's HTTP engine, for upgrades, and for responses that do not end by themselves.

When the server stops a stream is told so at its own moment, and no request is cut off. A client that does not
take its last word is: uvicorn would let it flush for as long as it likes (docs/decisions/0006).
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from channels import drain, room
from channels.wire import LiveProtocol

EXTENSION: Final = "maycole.http"
IDLE_FOR_S: Final = 0.5
SILENT_FOR_S: Final = 30.0  # without a word from the beginning
HEAD_WITHIN_S: Final = 10.0  # from the first byte of a request until it has all its headers
NOT_NOW: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
)


class LiveHttp(HttpToolsProtocol):
    """Puts itself into the scope's extensions, so that a stream can say that it is `carried`."""

    _hang_up: Callable[[int], None] | None = None
    _stops = False
    _head: asyncio.TimerHandle | None = None

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._await_head()
        extensions: dict[str, Any] = {EXTENSION: self}
        self.scope["extensions"] = extensions

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > room.connections_max():
            # Not here: uvloop begins to read when this returns.
            self.loop.call_soon(self._not_now)
        else:
            # Browsers connect before they know what for: as long as between two requests.
            self._head = self.loop.call_later(SILENT_FOR_S, self.transport.close)

    def data_received(self, data: bytes) -> None:
        # What was on its way when it was cut off.
        if not self.transport.is_closing():
            super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_of_head()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self) -> None:
        is_behind = self.cycle is not None and not self.cycle.response_complete
        if self._stops or is_behind or len(self.connections) > room.sockets_max():
            # It comes too late, or behind a request that is still being answered on the same wire, or is
            # one too many.
            self._not_now()
            return
        self.connections.discard(self)
        protocol = LiveProtocol(config=self.config, server_state=self.server_state, app_state=self.app_state)
        protocol.connection_made(self.transport)
        protocol.asked(
            self.scope["method"].encode(),
            self.url,
            self.headers,
            http_version=self.scope["http_version"],
        )
        self.transport.set_protocol(protocol)

    def abort(self) -> None:
        """Cut the client off, whatever it has not taken yet."""
        self.transport.abort()

    @contextmanager
    def carried(self, hang_up: Callable[[int], None]) -> Iterator[None]:
        """Until the block ends this connection carries a stream; `hang_up` is what ends it."""
        self._hang_up = hang_up
        if self._stops:
            self._drain()
        try:
            yield
        finally:
            self._hang_up = None

    def on_headers_complete(self) -> None:
        self._end_of_head()
        super().on_headers_complete()
        if self._stops and self.cycle is not None:
            # It is answered, and told to go elsewhere with the next one.
            self.cycle.keep_alive = False

    def shutdown(self) -> None:
        self._stops = True
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False
        self._drain()
        # An idle connection may have a request on its way, which would be cut off by closing at once.
        self.loop.call_later(IDLE_FOR_S, super().shutdown)

    def _not_now(self) -> None:
        self.transport.write(NOT_NOW)
        self.transport.close()

    def _await_head(self) -> None:
        """Cut off whoever is too slow: uvicorn would keep the connection for ever."""
        self._end_of_head()
        self._head = self.loop.call_later(HEAD_WITHIN_S, self.transport.abort)

    def _end_of_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _drain(self) -> None:
        if self._hang_up is not None:
            self.loop.call_later(drain.moment(len(self.connections)), self._hang_up, 3001)
