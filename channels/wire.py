"""The wire: how finished frames leave, straight to the socket's transport where the server lets us.

`LiveProtocol` is uvicorn's wsproto engine with one addition: it puts itself into the ASGI scope, and the
endpoint writes prepared frames to its transport, past the per-message encoding. Under another server, and for
transports that are not websockets, see channels/send_wire.py.

wsproto is the engine because it passes all of Autobahn's cases with clean logs; uvicorn's other two do not.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final, Protocol

import wsproto
from uvicorn.protocols.websockets.wsproto_impl import WSProtocol
from wsproto.connection import ConnectionState
from wsproto.events import BytesMessage, CloseConnection, TextMessage

from channels import drain, protocol, refusals
from channels.handshake import Headers, Upgrade, known

EXTENSION: Final = "maycole.wire"
HIGH_WATER_BYTES: Final = 256 * 1024
BUFFER_BYTES_MAX: Final = 1024 * 1024
LAST_WORD_WITHIN_S: Final = 1.0
WAITING_MAX: Final = 4096
AHEAD_MAX: Final = 16  # frames that wait while one is carried out
AHEAD_BYTES_MAX: Final = 64 * 1024


class Watcher(Protocol):
    """Who is told how the wire fares. Each is called at most once for each change, and must not raise."""

    def paused(self) -> None:
        """The client stopped keeping up."""

    def resumed(self) -> None:
        """What was waiting has drained."""

    def ponged(self) -> None:
        """The client answered a ping of the transport's own."""

    def drain(self) -> None:
        """The server stops, and this one is to be closed: with 3001, once its command is answered."""

    def left(self) -> None:
        """The socket is gone."""


class Wire(Protocol):
    """One client's way out. Nothing here blocks or raises."""

    watcher: Watcher | None

    @property
    def write(self) -> Callable[[bytes], None]:
        """Takes a finished frame."""

    def buffered(self) -> int:
        """Bytes that the client has not taken yet."""

    def hang_up(self, code: int) -> None:
        """Close with this code, now; the receiving side sees a disconnect."""


class LiveProtocol(WSProtocol):
    """uvicorn's websocket protocol, and a Wire.

    uvicorn closes a transport and lets it flush for as long as the client likes. Here whatever is closing is
    aborted after LAST_WORD_WITHIN_S: whoever does not take the last word by then was not reading.
    """

    watcher: Watcher | None = None
    _abort: asyncio.TimerHandle | None = None
    _ahead_bytes = 0

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.conn: Any = Upgrade()

    def asked(self, method: bytes, target: bytes, headers: Headers, *, http_version: str) -> None:
        """The request with which the client came (channels/live_http.py)."""
        answer = self.conn.asked(method, target, headers, http_version=http_version)
        if isinstance(answer, wsproto.events.Request):
            self.handle_connect(answer)
        else:
            asked = known(method, target, headers)
            self.transport.write(refusals.refused(answer, self.app, self.client, asked))
            self.transport.close()
            self._end_soon()

    def handle_connect(self, event: wsproto.events.Request) -> None:
        # uvicorn starts the application as a task, so it has not looked at the scope yet when this returns.
        super().handle_connect(event)
        self.transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        self.write = self.transport.write
        extensions: dict[str, Any] = self.scope["extensions"]
        extensions[EXTENSION] = self

    def buffered(self) -> int:
        return self.transport.get_write_buffer_size()

    def hang_up(self, code: int) -> None:
        if self.close_sent or self.disconnected:
            return
        self.close_sent = True
        if self.watcher is not None:
            # Nothing is written after the close, and nothing carried out that nobody would hear of.
            self.watcher.left()
        reason = protocol.CLOSES[code]
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        if not self.transport.is_closing():
            self.transport.write(self.conn.send(CloseConnection(code=code, reason=reason)))
            if self.read_paused:
                # The client's answer to the close ends the handshake: it must be read.
                self.read_paused = False
                self.transport.resume_reading()
        # uvicorn's own timer says that the closing handshake is under way, and is cancelled by the client's
        # answer; ours is not.
        self.close_timer = self.loop.call_later(LAST_WORD_WITHIN_S, self.transport.abort)
        self._end_soon()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.is_closing():
            self._end_soon()

    def eof_received(self) -> None:
        self._end_soon()

    def handle_close(self, event: CloseConnection) -> None:
        # wsproto tells of a broken frame as if the client had said goodbye; it must hear what was wrong.
        if self.conn.state is ConnectionState.OPEN and not self.transport.is_closing():
            self.transport.write(self.conn.send(CloseConnection(code=event.code, reason=event.reason)))
        super().handle_close(event)

    def handle_message(self, event: TextMessage | BytesMessage) -> None:
        super().handle_message(event)
        if self.queue.qsize() > WAITING_MAX:
            # Reading is paused after a message; this is what the same packets held besides.
            self.hang_up(3501)
        elif self.queue.qsize() <= 1:
            self._ahead_bytes = 0
        else:
            self._ahead_bytes += len(event.data)
        if self.read_paused and self._may_read_ahead() and not self.transport.is_closing():
            self.read_paused = False
            self.transport.resume_reading()

    def handle_ping(self, event: wsproto.events.Ping) -> None:
        # Pings cost their sender nothing: whoever does not read the answers gets no more of them.
        if self.writable.is_set():
            super().handle_ping(event)

    def handle_pong(self, event: wsproto.events.Pong) -> None:
        if self.watcher is not None:
            self.watcher.ponged()

    def shutdown(self) -> None:
        """The server stops: say so, to each client at its own moment, in a way after which it comes back."""
        if self.transport.is_closing():
            return
        if self.handshake_complete:
            self.loop.call_later(drain.moment(len(self.connections)), self._drain)
        else:
            self._refuse("busy")
            self.transport.close()

    def send_500_response(self) -> None:
        self._refuse("internal_error")

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.watcher is not None:
            self.watcher.paused()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.watcher is not None:
            self.watcher.resumed()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._abort is not None:
            self._abort.cancel()
        super().connection_lost(exc)
        # At once, not at the application's next receive(): a closed uvloop transport raises on write, and
        # followers promise the hub that theirs does not.
        if self.watcher is not None:
            self.watcher.left()

    def _refuse(self, code: str) -> None:
        """In the place of the application, which knows of this handshake and has not answered it."""
        if not self.response_started and not self.handshake_complete and not self.transport.is_closing():
            self.response_started = True
            asked = known(b"GET", self.scope["raw_path"], list(self.scope["headers"]))
            if (request_id := self.scope["state"].get("request_id")) is not None:
                asked = asked._replace(request_id=request_id.encode())
            self.transport.write(refusals.refused(code, self.app, self.client, asked))

    def _may_read_ahead(self) -> bool:
        """uvicorn reads no more until what came is taken: that a client is gone would not be noticed."""
        return self.queue.qsize() <= AHEAD_MAX and self._ahead_bytes <= AHEAD_BYTES_MAX

    def _drain(self) -> None:
        if self.watcher is not None:
            self.watcher.drain()
        else:
            self.hang_up(3001)

    def _end_soon(self) -> None:
        if self._abort is None:
            self._abort = self.loop.call_later(LAST_WORD_WITHIN_S, self.transport.abort)
