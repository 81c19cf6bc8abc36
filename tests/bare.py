"""A websocket spoken by hand, bit by bit: it sends what no library would, and reads strictly."""

import asyncio
import base64
import contextlib
import os
import socket
import struct
from collections.abc import AsyncIterator
from typing import Final, NamedTuple
from urllib.parse import urlsplit

WITHIN_S: Final = 15
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA


class Frame(NamedTuple):
    """What came: a whole message, since our server fragments nothing."""

    opcode: int
    payload: bytes


class Close(NamedTuple):
    """How it ended. `code` is None where the connection went without a close frame that had one."""

    code: int | None
    reason: str


class Bare:
    """An open websocket, made by `bare`. What the server sends is read all the while, and waits in a queue.

    Over a plain socket: a transport that cannot write any more gives up what has come before.
    """

    def __init__(self, plug: socket.socket) -> None:
        self._plug = plug
        self._buffer = bytearray()
        self._loop = asyncio.get_running_loop()
        self._came: asyncio.Queue[Frame | None] = asyncio.Queue()
        self._reading: asyncio.Task[None] | None = None

    async def message(self, opcode: int, payload: bytes) -> None:
        """One message in one frame, well made, whatever is in it."""
        await self.raw(framed(opcode, payload))

    async def raw(self, data: bytes) -> None:
        """Any bytes. A server that has ended the connection is not complained about: see what came."""
        with contextlib.suppress(ConnectionError):
            await asyncio.wait_for(self._loop.sock_sendall(self._plug, data), WITHIN_S)

    def finish(self) -> None:
        """No more bytes: the server must end the connection now, whatever it was waiting for."""
        with contextlib.suppress(OSError):
            self._plug.shutdown(socket.SHUT_WR)

    async def frame(self) -> Frame | None:
        """The next frame, or None at the end. Raises AssertionError if nothing comes."""
        try:
            came = await asyncio.wait_for(self._came.get(), WITHIN_S)
        except TimeoutError:
            raise AssertionError(f"neither an answer nor an end within {WITHIN_S} s") from None
        if came is None and self._reading is not None:
            await self._reading  # it may have met what it is strict about
        return came

    async def ended(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        self._plug.close()

    async def _read(self) -> None:
        try:
            while True:
                self._came.put_nowait(await self._read_frame())
        except (EOFError, ConnectionError):
            pass  # the end, which is told below
        finally:
            self._came.put_nowait(None)

    async def _read_frame(self) -> Frame:
        first, second = await self._exactly(2)
        assert first & 0xF0 == 0x80, f"a fragment, or reserved bits: {first:#x}"
        opcode = first & 0x0F
        assert opcode in (TEXT, BINARY, CLOSE, PING, PONG), f"opcode {opcode:#x}"
        assert second < 0x80, "a server masks nothing"
        size = second
        if size > 125:
            assert opcode < CLOSE, "control frames are short"
            size = int.from_bytes(await self._exactly(2 if size == 126 else 8), "big")
        return Frame(opcode, await self._exactly(size))

    async def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            data = await self._loop.sock_recv(self._plug, 65536)
            if not data:
                raise EOFError
            self._buffer += data
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    async def handshake(self, host: str, subprotocol: str) -> str:
        """The server's answer."""
        offered = f"Sec-WebSocket-Protocol: {subprotocol}\r\n" if subprotocol else ""
        await self.raw(
            f"GET /connection/websocket HTTP/1.1\r\nHost: {host}\r\n"
            f"Upgrade: websocket\r\nConnection: Upgrade\r\n{offered}"
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        answer = b""
        async with asyncio.timeout(WITHIN_S):
            while not answer.endswith(b"\r\n\r\n"):
                answer += await self._exactly(1)
        self._reading = asyncio.create_task(self._read())
        return answer.decode()


def framed(opcode: int, payload: bytes) -> bytes:
    """One masked frame, as a client sends it (RFC 6455 section 5.2)."""
    size = len(payload)
    if size < 126:
        length = bytes([0x80 | size])
    elif size < 65536:
        length = struct.pack("!BH", 0xFE, size)
    else:
        length = struct.pack("!BQ", 0xFF, size)
    mask = os.urandom(4)
    return bytes([0x80 | opcode]) + length + mask + masked(mask, payload)


def masked(mask: bytes, payload: bytes) -> bytes:
    whole = int.from_bytes((mask * (len(payload) // 4 + 1))[: len(payload)], "big")
    return (int.from_bytes(payload, "big") ^ whole).to_bytes(len(payload), "big")


def closed_with(frame: Frame | None) -> Close:
    """What a close frame, or the end without one, says."""
    if frame is None or not frame.payload:
        return Close(None, "")
    assert frame.opcode == CLOSE, frame
    return Close(int.from_bytes(frame.payload[:2], "big"), frame.payload[2:].decode())


@contextlib.asynccontextmanager
async def bare(url: str, *, subprotocol: str = "") -> AsyncIterator[Bare]:
    """A websocket after its handshake; dropped when the block ends."""
    where = urlsplit(url)
    assert where.hostname is not None, "servers under test have addresses"
    plug = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    plug.setblocking(False)
    await asyncio.get_running_loop().sock_connect(plug, (where.hostname, where.port))
    opened = Bare(plug)
    try:
        answer = await opened.handshake(where.netloc, subprotocol)
        assert " 101 " in answer, answer
        assert subprotocol in answer, answer
        yield opened
    finally:
        await opened.ended()
