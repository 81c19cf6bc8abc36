"""Wires over ASGI `send`: for servers other than ours, and for transports that are not websockets.

A queue, and a task that empties it in order. Closing overtakes what waits, unless the server stops: then the
last answer is among it. It is bounded: whoever does not take the last word within LAST_WORD_WITHIN_S was not
reading.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, Final

from channels import protocol
from channels.encoding import Encoding, websocket_payload
from channels.protocol import Disconnected
from channels.wire import HIGH_WATER_BYTES, LAST_WORD_WITHIN_S, Watcher

STOPS: Final = 3001

Send = Callable[[Any], Awaitable[None]]


class SendWire(ABC):
    """What both kinds have in common. `hung_up` is set once it is closing from our side."""

    def __init__(self, send: Send) -> None:
        self.watcher: Watcher | None = None
        self.write = self._write
        self.hung_up = asyncio.Event()
        self._send = send
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue()
        self._bytes = 0
        self._is_paused = False
        self._sending = asyncio.create_task(self._empty())

    def buffered(self) -> int:
        return self._bytes

    def hang_up(self, code: int) -> None:
        if self.hung_up.is_set():
            return
        self.hung_up.set()
        emptying = self._sending
        if code != STOPS:
            emptying.cancel()
        self._sending = asyncio.create_task(self._end(emptying, code))

    def drain(self) -> None:
        """The server stops, and this one is to be closed."""
        if self.watcher is not None:
            self.watcher.drain()
        else:
            self.hang_up(3001)

    async def ended(self) -> bool:
        """Wait for the last word to be said, if there is one; whether it was."""
        if self.hung_up.is_set():
            await asyncio.wait({self._sending}, timeout=LAST_WORD_WITHIN_S)
        self._sending.cancel()
        [outcome] = await asyncio.gather(self._sending, return_exceptions=True)
        return self.hung_up.is_set() and outcome is None

    @abstractmethod
    async def _say(self, frame: bytes) -> None:
        """Send it; done when it is taken."""

    @abstractmethod
    async def _say_last(self, code: int) -> None:
        """Say that this is the end, and why."""

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
            await self._say(frame)
            self._waiting.task_done()
            self._bytes -= len(frame)
            if self._is_paused and self._bytes <= HIGH_WATER_BYTES // 4:
                self._is_paused = False
                if self.watcher is not None:
                    self.watcher.resumed()

    async def _end(self, emptying: asyncio.Task[None], code: int) -> None:
        try:
            async with asyncio.timeout(LAST_WORD_WITHIN_S):
                if code == STOPS:
                    await self._waiting.join()
                await self._say_last(code)
        finally:
            emptying.cancel()


class SocketWire(SendWire):
    """A websocket under a server that does not hand over its transport."""

    def __init__(self, send: Send, *, is_text: bool) -> None:
        super().__init__(send)
        self._is_text = is_text

    async def _say(self, frame: bytes) -> None:
        payload = websocket_payload(frame)
        said = {"text": payload.decode()} if self._is_text else {"bytes": payload}
        await self._send({"type": "websocket.send", **said})

    async def _say_last(self, code: int) -> None:
        await self._send({"type": "websocket.close", "code": code, "reason": protocol.CLOSES[code]})


class StreamWire(SendWire):
    """The body of a response that does not end; the last word is a push, since there is no close frame."""

    def __init__(self, send: Send, encoding: Encoding) -> None:
        super().__init__(send)
        self._encoding = encoding

    async def _say(self, frame: bytes) -> None:
        await self._send({"type": "http.response.body", "body": frame, "more_body": True})

    async def _say_last(self, code: int) -> None:
        last = self._encoding.format.push("", "disconnect", Disconnected.of(code))
        body = self._encoding.frame(last)
        await self._send({"type": "http.response.body", "body": body, "more_body": False})
