"""A line: a TCP proxy in front of a server, which can be cut, mended, and as slow as one likes."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import urlsplit

CHUNK_BYTES: Final = 16 * 1024
STEP_S: Final = 0.1  # a slow line passes a tenth of its bytes each


class Line:
    """Made by `line`. `url` reaches the server through it.

    `bytes_per_s` slows what the server sends, for each connection; buffers are small then, so that the
    server feels it.
    """

    def __init__(self, server_url: str, bytes_per_s: int | None) -> None:
        where = urlsplit(server_url)
        assert where.hostname is not None, "servers under test have addresses"
        assert where.port is not None, "and ports"
        self._server = (where.hostname, where.port)
        self._bytes_per_s = bytes_per_s
        self._is_cut = False
        self._ends: set[asyncio.StreamWriter] = set()
        self._passing: set[asyncio.Task[None]] = set()
        self.url = ""

    def cut(self) -> None:
        """Every connection breaks, and new ones break at once, until it is mended."""
        self._is_cut = True
        for end in self._ends:
            end.transport.abort()

    def mend(self) -> None:
        self._is_cut = False

    def taken(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A client connects."""
        if self._is_cut:
            writer.transport.abort()
            return
        # Not a coroutine, of which asyncio would make a task that it complains about when we cancel it.
        task = asyncio.create_task(self._pass_both_ways(reader, writer))
        self._passing.add(task)
        task.add_done_callback(self._passing.discard)

    async def end(self) -> None:
        self.cut()
        passing = set(self._passing)
        for task in passing:
            task.cancel()
        await asyncio.gather(*passing, return_exceptions=True)

    async def _pass_both_ways(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = {writer}
        self._ends |= ends
        try:
            from_server, to_server = await self._to_server()
            ends.add(to_server)
            self._ends.add(to_server)
            if self._is_cut:
                return
            async with asyncio.TaskGroup() as both:
                both.create_task(_pass(reader, to_server, None))
                both.create_task(_pass(from_server, writer, self._bytes_per_s))
        finally:
            self._ends -= ends
            for end in ends:
                end.transport.abort()

    async def _to_server(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        plug = socket.socket()
        if self._bytes_per_s:
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plug.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plug, self._server)
        return await asyncio.open_connection(sock=plug, limit=1024 if self._bytes_per_s else CHUNK_BYTES)


async def _pass(source: asyncio.StreamReader, target: asyncio.StreamWriter, bytes_per_s: int | None) -> None:
    """Until either end is gone: an end of data is passed on too."""
    most = CHUNK_BYTES if bytes_per_s is None else max(1, round(bytes_per_s * STEP_S))
    with contextlib.suppress(ConnectionError, RuntimeError):
        while data := await source.read(most):
            target.write(data)
            await target.drain()
            if bytes_per_s is not None:
                await asyncio.sleep(len(data) / bytes_per_s)
        target.write_eof()


@contextlib.asynccontextmanager
async def line(server_url: str, *, bytes_per_s: int | None = None) -> AsyncIterator[Line]:
    """A line that is gone when the block ends."""
    made = Line(server_url, bytes_per_s)
    server = await asyncio.start_server(made.taken, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()
        await made.end()
