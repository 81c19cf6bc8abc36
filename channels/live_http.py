"""uvicorn's HTTP engine, for upgrades, for responses that do not end by themselves, and for clients that do.

When the server stops a stream is told so at its own moment, and no request is cut off. A client that does not
take its last word is: uvicorn would let it flush for as long as it likes (docs/decisions/0006). Whose client
is gone before there is an answer is cancelled (channels/cycle.py); and a head has to come within bounds,
which uvicorn does not ask.

Whatever is sent of a request and is not its body (the head, what is said around chunks, trailers) is bounded
by HEAD_BYTES_MAX. Trailers are thrown away, as RFC 9110, 6.5.1 lets us: uvicorn would add them to the headers
of a request that is judged and worked on already, however many there are.

What cannot be read as a request ends the connection: nothing behind it is read. Requests before it are
answered first, each with what came of it; then the refusal is said. Where it is the rest of a request that
is worked on already, that one is stopped (unless it is at its COMMIT) and the refusal is its answer.
"""

import asyncio
import contextvars
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from channels import cycle, drain, handshake, room
from channels.one_write import OneWrite
from channels.refusals import UNKNOWN, Asked, refused
from channels.wire import LAST_WORD_WITHIN_S, LiveProtocol

EXTENSION: Final = "maycole.http"
IDLE_FOR_S: Final = 0.5
SILENT_FOR_S: Final = 30.0  # without a word from the beginning
HEAD_WITHIN_S: Final = 10.0
_FRAMING: Final = (b"content-length", b"transfer-encoding")
HEAD_BYTES_MAX: Final = 256 * 1024  # a frame of 64 KiB in an address of server-sent events, all in escapes
CHUNK_LINE_BYTES: Final = 16  # its length in hex and two ends of lines, which come with a piece of a body


class _HeadTooLarge(Exception):
    """Stops the parser."""


class LiveHttp(HttpToolsProtocol):
    """Puts itself into the scope's extensions, so that a stream can say that it is `carried`."""

    _drain_stream: Callable[[], None] | None = None
    _stops = False
    _work: asyncio.Task[None] | None = None
    _begun: RequestResponseCycle | None = None  # what _work answers
    _late: asyncio.TimerHandle | None = None
    _is_deaf = False  # whatever else comes is thrown away; to read it tells when the client is gone
    _owed: Callable[[], bytes] | None = None  # the refusal, behind the answers that are still to come
    _in_head = False
    _beside_body = 0  # bytes of the request that is being read, and of what has come behind it
    _is_reading_on = False  # the parser is told again of a request that there is already

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as upstream
        super().connection_made(transport)
        if len(self.connections) > room.connections_max():
            # Not here: uvloop begins to read when this returns.
            self.loop.call_soon(self._refuse, "busy")
        else:
            # Browsers connect before they know what for: as long as between two requests.
            self._late = self.loop.call_later(SILENT_FOR_S, self._head_is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._head_is_there()
        if self._work is not None:
            cycle.client_is_gone(self._work)
        if self._begun is not None:
            # Upstream tells the newest only, and this one may have others behind it.
            self._begun.disconnected = True
            self._begun.message_event.set()

    def data_received(self, data: bytes) -> None:
        # What was on its way when it was cut off.
        if self._is_deaf or self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        self._beside_body += len(data)
        rest = data
        while rest:
            rest = self._read(rest)
        if self._in_head and not self._beside_body:
            self._beside_body = self._head_bytes()  # it begins behind another one
        if self._beside_body > HEAD_BYTES_MAX:
            self._refuse("head_too_large")
        # Whoever sends, and asks nothing with it, has as long as for a head. Nothing is paid for this by
        # requests that come in one piece.
        if self._late is None and not self._is_busy():
            self._late = self.loop.call_later(HEAD_WITHIN_S, self._head_is_late)

    def on_message_begin(self) -> None:
        if self._is_reading_on:
            return
        super().on_message_begin()
        self._in_head = True
        self._head_is_there()  # from here on it has HEAD_WITHIN_S, however long it had said nothing
        extensions: dict[str, Any] = {EXTENSION: self}
        self.scope["extensions"] = extensions

    def on_url(self, url: bytes) -> None:
        if not self._is_reading_on:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # and no trailer
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._is_reading_on:
            return
        # What came in with the head's last bytes may be another request's.
        if self._beside_body > HEAD_BYTES_MAX and self._head_bytes() > HEAD_BYTES_MAX:
            raise _HeadTooLarge
        self._in_head = False
        self._head_is_there()
        super().on_headers_complete()
        if self._stops and self.cycle is not None:
            # It is answered, and told to go elsewhere with the next one.
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self._beside_body -= len(body) + CHUNK_LINE_BYTES
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._beside_body = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing() or self._is_at_work():
            return
        if self._is_deaf:
            self._end()
        elif self._in_head and self._late is None:
            self._late = self.loop.call_later(HEAD_WITHIN_S, self._head_is_late)  # that of the next request

    def _read(self, data: bytes) -> bytes:
        """What is left of it, where the parser stopped because a request asks for another protocol."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            is_too_large = isinstance(error.__context__, _HeadTooLarge)
            self._refuse("head_too_large" if is_too_large else "malformed_request")
        except httptools.HttpParserUpgrade as stop:
            if not self._should_upgrade():
                self._read_on()
                return data[stop.args[0] :]
            self.handle_websocket_upgrade()
        return b""

    def _head_bytes(self) -> int:
        """How long this head is, as far as the parser has told of it."""
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _read_on(self) -> None:
        """A request is answered in the protocol that we speak, as if it had not asked for another one: who
        wants HTTP/2 (`Upgrade: h2c`) sends the body with it. A new parser is told how long that is.
        """
        framing = b"".join(b"%b: %b\r\n" % header for header in self.headers if header[0] in _FRAMING)
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as upstream
        self.cycle.more_body, self._is_reading_on = True, True
        self.cycle.message_event.clear()
        try:
            self.parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n" % framing)
        finally:
            self._is_reading_on = False

    def handle_websocket_upgrade(self) -> None:
        if self._stops or self._is_at_work() or len(self.connections) > room.sockets_max():
            # It comes too late, or behind a request that is still being answered on the same wire, or is
            # one too many.
            method = self.scope["method"].encode()
            self._refuse("busy", handshake.known(method, self.url, self.headers))
            return
        if self.cycle is not None:
            self.cycle.transport.write(b"")  # a head without a body is still in there (channels/one_write.py)
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
        self._refuse("malformed_request")

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
        self._work, self._begun = task, begun

    def _is_at_work(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _is_busy(self) -> bool:
        return self._is_deaf or self._is_at_work() or self.transport.get_protocol() is not self

    def _head_is_there(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _head_is_late(self) -> None:
        self._late = None
        if self.transport.is_closing() or self._is_at_work():
            return
        if self._in_head:
            self._refuse("request_timeout")
        else:
            self.transport.close()  # it has asked for nothing

    def _refuse(self, code: str, asked: Asked = UNKNOWN) -> None:
        if self._is_deaf or self.transport.is_closing():
            return
        self._is_deaf = True
        self._head_is_there()
        self._owed = partial(refused, code, self.app, self.client, asked)
        if not self._is_at_work():
            self._end()
        elif self.cycle.more_body:
            self._break_off(code)

    def _break_off(self, code: str) -> None:
        """The newest request will never be whole."""
        if self.pipeline and self._begun is not None:
            self.pipeline.popleft()  # it has not begun; the one before it is the newest now
            self.cycle = self.pipeline[0][0] if self.pipeline else self._begun
        elif self._work is not None:
            self._owed = None  # its own answer says so
            self.loop.call_soon(cycle.is_broken, self._work, code)  # by then it has begun

    def _end(self) -> None:
        """Everything is answered: say what is owed, and end the connection."""
        self._unset_keepalive_if_required()
        # By the way of the last answer: a head without a body is still in there (channels/one_write.py).
        last = self.transport if self.cycle is None else self.cycle.transport
        last.write(self._owed() if self._owed is not None else b"")
        # Closed with something unread, the answer would be lost on its way; who goes on sending is cut off.
        self.transport.write_eof()
        self.loop.call_later(LAST_WORD_WITHIN_S, self.transport.abort)

    def _drain(self) -> None:
        if self._drain_stream is not None:
            self.loop.call_later(drain.moment(len(self.connections)), self._drain_stream)
