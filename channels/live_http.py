"""uvicorn's HTTP engine, for upgrades, for responses that do not end by themselves, and for clients that do.

When the server stops a stream is told so at its own moment, and no request is cut off. A client that does not
take its last word is: uvicorn would let it flush for as long as it likes (docs/decisions/0006). Whose client
is gone before there is an answer is cancelled (channels/cycle.py); and a head has to come within bounds,
which uvicorn does not ask.
"""

import asyncio
import contextvars
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from channels import cycle, drain, room
from channels.one_write import OneWrite
from channels.refusals import refusal
from channels.wire import LAST_WORD_WITHIN_S, LiveProtocol

EXTENSION: Final = "maycole.http"
IDLE_FOR_S: Final = 0.5
SILENT_FOR_S: Final = 30.0  # without a word from the beginning
HEAD_WITHIN_S: Final = 10.0
HEAD_BYTES_MAX: Final = 256 * 1024  # a frame of 64 KiB in an address of server-sent events, all in escapes


class LiveHttp(HttpToolsProtocol):
    """Puts itself into the scope's extensions, so that a stream can say that it is `carried`."""

    _drain_stream: Callable[[], None] | None = None
    _stops = False
    _work: asyncio.Task[None] | None = None
    _late: asyncio.TimerHandle | None = None
    _refused = False
    _in_head = False
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as upstream
        super().connection_made(transport)
        if len(self.connections) > room.connections_max():
            # Not here: uvloop begins to read when this returns.
            self.loop.call_soon(self._refuse, 503)
        else:
            # Browsers connect before they know what for: as long as between two requests.
            self._late = self.loop.call_later(SILENT_FOR_S, self._head_is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._head_is_there()
        if self._work is not None:
            cycle.client_is_gone(self._work)

    def data_received(self, data: bytes) -> None:
        # What was on its way when it was cut off.
        if self._refused or self.transport.is_closing():
            return
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                self._refuse(431)
        # Whoever sends, and asks nothing with it, has as long as for a head. Nothing is paid for this by
        # requests that come in one piece.
        if self._late is None and not self._is_busy():
            self._late = self.loop.call_later(HEAD_WITHIN_S, self._head_is_late)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        self._head_is_there()  # from here on it has HEAD_WITHIN_S, however long it had said nothing
        extensions: dict[str, Any] = {EXTENSION: self}
        self.scope["extensions"] = extensions

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_is_there()
        super().on_headers_complete()
        if self._stops and self.cycle is not None:
            # It is answered, and told to go elsewhere with the next one.
            self.cycle.keep_alive = False

    def handle_websocket_upgrade(self) -> None:
        if self._stops or self._is_at_work() or len(self.connections) > room.sockets_max():
            # It comes too late, or behind a request that is still being answered on the same wire, or is
            # one too many.
            self._refuse(503)
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

    def send_400_response(self, msg: str) -> None:
        self._refuse(400)

    def abort(self) -> None:
        """Cut the client off, whatever it has not taken yet."""
        self.transport.abort()

    @contextmanager
    def carried(self, drain_stream: Callable[[], None]) -> Iterator[None]:
        """Until the block ends this connection carries a stream, which `drain_stream` ends."""
        self._drain_stream = drain_stream
        if self._stops:
            self._drain()
        try:
            yield
        finally:
            self._drain_stream = None

    def shutdown(self) -> None:
        self._stops = True
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False
        self._drain()
        # An idle connection may have a request on its way, which would be cut off by closing at once.
        self.loop.call_later(IDLE_FOR_S, super().shutdown)

    def _start_asgi_task(self, begun: RequestResponseCycle, app: Any) -> None:
        # A context of its own: in a pipeline it is begun from within the request before it.
        begun.transport = cast(asyncio.Transport, OneWrite(begun.transport, self.loop))
        task = self.loop.create_task(cycle.run(begun, app), context=contextvars.Context())
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)
        self._work = task

    def _is_at_work(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _is_busy(self) -> bool:
        return self._refused or self._is_at_work() or self.transport.get_protocol() is not self

    def _head_is_there(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _head_is_late(self) -> None:
        self._late = None
        if self.transport.is_closing() or self._is_at_work():
            return
        if self._in_head:
            self._refuse(408)
        else:
            self.transport.close()  # it has asked for nothing

    def _refuse(self, status: int) -> None:
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        self._head_is_there()
        self.transport.write(refusal(status))
        # Closed with something unread, the answer would be lost on its way; who goes on sending is cut off.
        self.transport.write_eof()
        self.loop.call_later(LAST_WORD_WITHIN_S, self.transport.abort)

    def _drain(self) -> None:
        if self._drain_stream is not None:
            self.loop.call_later(drain.moment(len(self.connections)), self._drain_stream)
