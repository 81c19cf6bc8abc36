"""An answer leaves in one write: its head waits for what is sent in the same turn of the loop.

uvicorn writes head and body apart, and a write is a call into the kernel: measured, a tenth of what a small
answer costs. A head whose body comes later, as a stream's does, leaves at the end of the turn.
"""

import asyncio
from typing import Any


class OneWrite:
    """The transport of one answer; everything but the head is the other transport's own."""

    __slots__ = ("_head", "_is_begun", "_leaves", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head = b""
        self._is_begun = False
        self._leaves: asyncio.Handle | None = None

    def write(self, data: bytes) -> None:
        if not self._is_begun:
            self._is_begun = True
            self._head = data
            self._leaves = self._loop.call_soon(self._leave)
        elif self._head:
            head, self._head = self._head, b""
            self._transport.writelines((head, data))
        else:
            self._transport.write(data)

    def close(self) -> None:
        self._leave()
        self._transport.close()

    def _leave(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            if not self._transport.is_closing():
                self._transport.write(head)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
