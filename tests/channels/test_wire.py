"""Sockets that end badly: what is closing is gone in a moment, whatever the other side does or does not."""

import asyncio
import base64
import contextlib
import json
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import urlsplit

import pytest

from channels.wire import LiveProtocol
from tests.channels.conftest import Stream
from tests.conftest import Served


class Plug:
    """A websocket spoken by hand over a socket that takes next to nothing while nobody reads."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, opcode: int, payload: bytes) -> None:
        size = bytes([0x80 | len(payload)]) if len(payload) < 126 else struct.pack("!BH", 0xFE, len(payload))
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
        self.writer.write(bytes([0x80 | opcode]) + size + mask + masked)
        await self.writer.drain()


@contextlib.asynccontextmanager
async def _plug(url: str, *commands: dict[str, object]) -> AsyncIterator[Plug]:
    where = urlsplit(url)
    small = socket.socket()
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    small.setblocking(False)
    await asyncio.get_running_loop().sock_connect(small, (where.hostname, where.port))
    # The reader's own buffer is small too, or it would read for us.
    reader, writer = await asyncio.open_connection(sock=small, limit=1024)
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        f"GET /connection/websocket HTTP/1.1\r\nHost: {where.netloc}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    plug = Plug(reader, writer)
    try:
        if commands:
            await plug.send(1, "\n".join(json.dumps(command) for command in commands).encode())
        yield plug
    finally:
        writer.transport.abort()


def _open(served: Served) -> set[LiveProtocol]:
    return {each for each in served.server.server_state.connections if isinstance(each, LiveProtocol)}


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not condition():
            await asyncio.sleep(0.02)


async def _half_close(plug: Plug) -> None:
    plug.writer.write_eof()


async def _close_frame(plug: Plug) -> None:
    await plug.send(8, struct.pack("!H", 1000))


async def _too_large(plug: Plug) -> None:
    plug.writer.write(bytes([0x81, 0xFF]) + struct.pack("!Q", 70_000) + bytes(4) + bytes(70_000))


async def _nonsense(plug: Plug) -> None:
    plug.writer.write(b"\xff" * 64)


async def _reset(plug: Plug) -> None:
    plug.writer.transport.abort()


@pytest.mark.parametrize("end", [_half_close, _close_frame, _too_large, _nonsense, _reset])
async def test_one_that_ends_without_reading_what_waits_for_it_is_gone_in_a_moment(
    served: Served, stream: Stream, end: Callable[[Plug], Awaitable[None]]
) -> None:
    before = _open(served)
    connect = {"id": 1, "connect": {"token": stream.ann.token}}
    async with _plug(served.url, connect, {"id": 2, "subscribe": {"channel": stream.channel}}) as plug:
        live = served.app.state.live
        await _until(lambda: any(stream.channel in each.subscriptions for each in live.connections))
        [ours] = _open(served) - before
        while not ours.buffered():
            # The kernel takes some megabytes before anything has to wait.
            await stream.append(10, size=60_000)
            await asyncio.sleep(0.01)
        await end(plug)
        await _until(lambda: ours not in _open(served))
        assert not any(stream.channel in each.subscriptions for each in live.connections)


async def test_pings_of_one_that_does_not_read_the_pongs_fill_no_buffer(served: Served) -> None:
    before = _open(served)
    async with _plug(served.url) as plug:
        [ours] = _open(served) - before
        ping = bytes([0x89, 0xFD]) + bytes(4) + b"x" * 125
        plug.writer.transport.set_write_buffer_limits(high=1 << 20)
        for _ in range(100):
            plug.writer.write(ping * 1000)
            await asyncio.sleep(0.01)
            assert ours.buffered() < 1024 * 1024, "13 MB of pongs are asked for"
            if plug.writer.is_closing():
                break  # it took so long that who does not read was cut off


async def test_one_that_pings_and_reads_gets_its_pongs(served: Served) -> None:
    async with _plug(served.url) as plug:
        await plug.send(9, b"are you there")
        assert await plug.reader.readexactly(15) == b"\x8a\x0dare you there"


@pytest.mark.parametrize(
    "header", ["Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions", "Connection", "Host"]
)
async def test_a_bad_byte_in_a_handshake_leaves_nothing_behind(
    served: Served, header: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = _open(served)
    where = urlsplit(served.url)
    headers = {
        "Host": where.netloc,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        "Sec-WebSocket-Version": "13",
    }
    headers[header] = headers.get(header, "") + ", \xe9"
    lines = [f"{name}: {value}" for name, value in headers.items()]
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    request = "\r\n".join(["GET /connection/websocket HTTP/1.1", *lines, "", ""])
    writer.write(request.encode("latin-1"))
    with contextlib.suppress(ConnectionError):
        await reader.read(65_536)
    writer.close()
    await _until(lambda: not _open(served) - before)
    assert "Traceback" not in caplog.text
