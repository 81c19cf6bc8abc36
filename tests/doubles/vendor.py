"""A vendor that fails in every way there is on a wire: a bare TCP server that speaks HTTP/1.1 by hand.

`behaves` is one of WAYS; whoever behaves well answers what `answers` has for the path's beginning.
"""

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator, Callable
from typing import Final

HEAD: Final = "HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{headers}\r\n"
STATUSES: Final = {"500": "500 Internal Server Error", "503": "503 Service Unavailable", "400": "400 Bad"}


class Vendor:
    """`asked` lists the requests that were read whole, `open` counts the connections."""

    def __init__(self) -> None:
        self.url = ""
        self.behaves = "well"
        self.retry_after = "2"
        self.answers: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.open = 0
        self._changed = asyncio.Condition()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a request or the end of a connection makes the condition true."""
        async with asyncio.timeout(30), self._changed:
            await self._changed.wait_for(condition)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            # Whoever gives up on us breaks the connection at any point.
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while await self._answer(reader, writer):
                    await writer.drain()
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            self.open -= 1
            await self._note()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request as told. False: and no other on this connection."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, path, _ = head.split(" ", 2)
        lengths = [
            line.partition(":")[2] for line in head.lower().splitlines() if line.startswith("content-length:")
        ]
        self.asked.append(f"{method} {path}")
        await self._note()
        if self.behaves != "resets":
            if "expect: 100-continue" in head.lower():
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            await reader.readexactly(int(lengths[0]) if lengths else 0)
        return await WAYS[self.behaves](self, path, reader, writer)

    def body(self, path: str) -> bytes:
        return next((body for begins, body in self.answers.items() if path.startswith(begins)), b"{}")

    async def _note(self) -> None:
        async with self._changed:
            self._changed.notify_all()


def _said(
    writer: asyncio.StreamWriter, status: str, body: bytes, *headers: str, length: int | None = None
) -> None:
    lines = [f"Content-Length: {len(body) if length is None else length}", *headers]
    writer.write(HEAD.format(status=status, headers="".join(f"{line}\r\n" for line in lines)).encode() + body)


async def _well(
    vendor: Vendor, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bool:
    _said(writer, "200 OK", vendor.body(path))
    return True


async def _stalls(
    vendor: Vendor, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bool:
    await reader.read()  # until the client gives up
    return False


async def _trickles(
    vendor: Vendor, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bool:
    _said(writer, "200 OK", b"", length=10**6)
    while not reader.at_eof():
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)
    return False


async def _resets(
    vendor: Vendor, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bool:
    """RST instead of an answer."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    return False


async def _hangs_up(
    vendor: Vendor, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bool:
    return False


async def _half(
    vendor: Vendor, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bool:
    body = vendor.body(path)
    _said(writer, "200 OK", body[: len(body) // 2], length=max(10, len(body)))
    return False


async def _nonsense(
    vendor: Vendor, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bool:
    writer.write(b"220 mail.example.org ESMTP\r\n\r\n")
    return False


async def _throttles(
    vendor: Vendor, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bool:
    body = json.dumps({"error": "slow_down"}).encode()
    _said(writer, "429 Too Many Requests", body, f"Retry-After: {vendor.retry_after}")
    return True


async def _fails(
    vendor: Vendor, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bool:
    _said(writer, STATUSES[vendor.behaves], b"{}")
    return True


WAYS: Final = {
    "well": _well,
    "stalls": _stalls,
    "trickles": _trickles,
    "resets": _resets,
    "hangs up": _hangs_up,
    "half a body": _half,
    "nonsense": _nonsense,
    "429": _throttles,
    **dict.fromkeys(STATUSES, _fails),
}
NEVER_ENDS: Final = ("stalls", "trickles")
BREAKS: Final = ("resets", "hangs up", "half a body", "nonsense", "500", "503")


@contextlib.asynccontextmanager
async def vendor() -> AsyncIterator[Vendor]:
    """One, on a free port of this machine; at the end nobody is connected to it any more."""
    made = Vendor()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield made
        await made.until(lambda: made.open == 0)
