"""The wire: how finished frames leave, straight to the socket's transport where the server lets us.

`LiveProtocol` is uvicorn's wsproto engine with one addition: it puts itself into the ASGI scope, and the
endpoint writes prepared frames to its transport, past the per-message encoding. Under another server
`SendWire` does the same through ASGI `send`, slower.

wsproto is the engine because it passes all of Autobahn's cases with clean logs; uvicorn's other two do not.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final, Protocol

import wsproto
from uvicorn.protocols.websockets.wsproto_impl import WSProtocol

from channels import protocol

EXTENSION: Final = "maycole.wire"
HIGH_WATER_BYTES: Final = 256 * 1024
BUFFER_BYTES_MAX: Final = 1024 * 1024
LAST_WORD_WITHIN_S: Final = 1.0


class Watcher(Protocol):
    """Who is told how the wire fares. Each is called at most once for each change, and must not raise."""

    def paused(self) -> None:
        """The client stopped keeping up."""

    def resumed(self) -> None:
        """What was waiting has drained."""

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
        reason = protocol.CLOSES[code]
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        if not self.transport.is_closing():
            self.transport.write(self.conn.send(wsproto.events.CloseConnection(code=code, reason=reason)))
            if self.read_paused:
                # The client's answer to the close ends the handshake: it must be read.
                self.read_paused = False
                self.transport.resume_reading()
        # uvicorn's own timer says that the closing handshake is under way, and is cancelled by the client's
        # answer; ours is not.
        self.close_timer = self.loop.call_later(LAST_WORD_WITHIN_S, self.transport.abort)
        self._end_soon()

    def data_received(self, data: bytes) -> None:
        try:
            super().data_received(data)
        except (UnicodeError, wsproto.utilities.ProtocolError):
            # wsproto decodes some headers without a check. An exception from here would leave this protocol
            # in uvicorn's list for good, since httptools has not handed the transport over yet.
            self.transport.close()
        if self.transport.is_closing():
            self._end_soon()

    def eof_received(self) -> None:
        self._end_soon()

    def handle_ping(self, event: wsproto.events.Ping) -> None:
        # Pings cost their sender nothing: whoever does not read the answers gets no more of them.
        if self.writable.is_set():
            super().handle_ping(event)

    def shutdown(self) -> None:
        """The server stops: say so in a way after which clients come back."""
        if self.transport.is_closing():
            return
        if self.handshake_complete:
            self.hang_up(3001)
        else:
            super().shutdown()

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
        # At once, not at the application's next receive(): a closed uvloop transport raises on write.
        if self.watcher is not None:
            self.watcher.left()

    def _end_soon(self) -> None:
        if self._abort is None:
            self._abort = self.loop.call_later(LAST_WORD_WITHIN_S, self.transport.abort)


class SendWire:
    """A wire over ASGI `send`, for servers other than ours: a queue, and a task that empties it in order."""

    def __init__(self, send: Callable[[Any], Any]) -> None:
        self.watcher: Watcher | None = None
        self.write = self._write
        self._send = send
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue()
        self._bytes = 0
        self._is_paused = False
        self._hung_up = False
        self._sending = asyncio.create_task(self._empty())

    def buffered(self) -> int:
        return self._bytes

    def hang_up(self, code: int) -> None:
        """What waits is not flushed: the close overtakes it."""
        self._hung_up = True
        self._sending.cancel()
        reason = protocol.CLOSES[code]
        last_word = self._send({"type": "websocket.close", "code": code, "reason": reason})
        self._sending = asyncio.create_task(_within(LAST_WORD_WITHIN_S, last_word))

    async def ended(self) -> None:
        """Wait for the last word to be said, if there is one; give up the rest."""
        if self._hung_up:
            await asyncio.wait({self._sending}, timeout=LAST_WORD_WITHIN_S)
        self._sending.cancel()
        await asyncio.gather(self._sending, return_exceptions=True)

    def _write(self, frame: bytes) -> None:
        self._bytes += len(frame)
        self._waiting.put_nowait(frame)
        if self._bytes > HIGH_WATER_BYTES and not self._is_paused:
            self._is_paused = True
            if self.watcher is not None:
                self.watcher.paused()

    async def _empty(self) -> None:
        while True:
            frame = await self._waiting.get()
            await self._send({"type": "websocket.send", "text": protocol.payload(frame).decode()})
            self._bytes -= len(frame)
            if self._is_paused and self._bytes <= HIGH_WATER_BYTES // 4:
                self._is_paused = False
                if self.watcher is not None:
                    self.watcher.resumed()


async def _within(seconds: float, sending: Any) -> None:
    async with asyncio.timeout(seconds):
        await sending
