"""The wire: how finished frames leave, straight to the socket's transport where the server lets us.

`LiveProtocol` is uvicorn's wsproto engine with one addition: it puts itself into the ASGI scope, and the
endpoint writes prepared frames to its transport, past the per-message encoding (measured: twice to forty
times the deliveries per second of CPU, by frame size). Under another server `SendWire` does the same through
ASGI `send`, slower.

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


class Wire(Protocol):
    """One client's way out. Nothing here blocks or raises."""

    @property
    def write(self) -> Callable[[bytes], None]:
        """Takes a finished frame."""

    def buffered(self) -> int:
        """Bytes that the client has not taken yet."""

    def hang_up(self, code: int) -> None:
        """Close with this code, now; the receiving side sees a disconnect."""

    def on_flow(self, paused: Callable[[], None], resumed: Callable[[], None]) -> None:
        """Call `paused` when the client stops keeping up, `resumed` when it has drained."""


class LiveProtocol(WSProtocol):
    """uvicorn's websocket protocol, and a Wire."""

    def handle_connect(self, event: wsproto.events.Request) -> None:
        self._paused: Callable[[], None] | None = None
        self._resumed: Callable[[], None] | None = None
        # The application has not run yet: uvicorn starts it as a task.
        super().handle_connect(event)
        self.transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        self.write = self.transport.write
        extensions: dict[str, Any] = self.scope["extensions"]
        extensions[EXTENSION] = self

    def on_flow(self, paused: Callable[[], None], resumed: Callable[[], None]) -> None:
        self._paused, self._resumed = paused, resumed

    def buffered(self) -> int:
        return self.transport.get_write_buffer_size()

    def hang_up(self, code: int) -> None:
        if self.close_sent or self.disconnected:
            return
        self.close_sent = True
        reason = protocol.CLOSES[code]
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        if self.transport.is_closing():
            return
        self.transport.write(self.conn.send(wsproto.events.CloseConnection(code=code, reason=reason)))
        if self.read_paused:
            # The client's answer to the close ends the handshake: it must be read.
            self.read_paused = False
            self.transport.resume_reading()
        # Whoever does not take the close in time was not reading: nothing more is flushed to them.
        self.close_timer = self.loop.call_later(LAST_WORD_WITHIN_S, self.transport.abort)

    def shutdown(self) -> None:
        """The server stops: say so in a way after which clients come back."""
        if self.handshake_complete and not self.close_sent:
            self.hang_up(3001)
        else:
            super().shutdown()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._paused is not None:
            self._paused()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._resumed is not None:
            self._resumed()


class SendWire:
    """A wire over ASGI `send`, for servers other than ours: a queue, and a task that empties it in order."""

    def __init__(self, send: Callable[[Any], Any]) -> None:
        self._send = send
        self._waiting: asyncio.Queue[bytes | int] = asyncio.Queue()
        self._bytes = 0
        self._is_paused = False
        self._paused: Callable[[], None] = lambda: None
        self._resumed: Callable[[], None] = lambda: None
        self.write = self._write

    def on_flow(self, paused: Callable[[], None], resumed: Callable[[], None]) -> None:
        self._paused, self._resumed = paused, resumed

    def buffered(self) -> int:
        return self._bytes

    def hang_up(self, code: int) -> None:
        self._waiting.put_nowait(code)

    def _write(self, frame: bytes) -> None:
        self._bytes += len(frame)
        self._waiting.put_nowait(frame)
        if self._bytes > HIGH_WATER_BYTES and not self._is_paused:
            self._is_paused = True
            self._paused()

    async def run(self) -> None:
        """Empty the queue until the connection is closed."""
        while True:
            item = await self._waiting.get()
            if isinstance(item, int):
                await self._send({"type": "websocket.close", "code": item, "reason": protocol.CLOSES[item]})
                return
            await self._send({"type": "websocket.send", "text": protocol.payload(item).decode()})
            self._bytes -= len(item)
            if self._is_paused and self._bytes <= HIGH_WATER_BYTES // 4:
                self._is_paused = False
                self._resumed()
