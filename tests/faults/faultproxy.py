"""A proxy that does to a TCP or unix connection what networks do, and can be told so while it runs.

    proxy = await FaultProxy.listen(Address.of(url), …)     dials the first that answers
    proxy.to_server.black_hole = True                       each direction for itself
    proxy.reset()                                           RST to both ends of every connection

Bytes are never dropped or changed on a connection that lives on: TCP would not do that either. A black hole
holds them back, and lets them through when it ends; nobody is told anything meanwhile.
"""

import asyncio
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

CHUNK_BYTES: Final = 64 * 1024
DIAL_WITHIN_S: Final = 2.0
STEP_S: Final = 0.02
_RST: Final = struct.pack("ii", 1, 0)  # SO_LINGER: on, for 0 s


@dataclass(frozen=True)
class Address:
    """A TCP host and port, or the path of a unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    async def dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Raises OSError, TimeoutError."""
        async with asyncio.timeout(DIAL_WITHIN_S):
            if self.path:
                return await asyncio.open_unix_connection(self.path, limit=CHUNK_BYTES)
            return await asyncio.open_connection(self.host, self.port, limit=CHUNK_BYTES)


@dataclass
class Way:
    """What happens to bytes in one direction. As made, nothing does.

    `latency_s` for each chunk; `bytes_per_s`; `slice_bytes`, the most that is passed on at once;
    `limit_bytes`, after which the connection is reset; `black_hole`, nothing is passed on.
    """

    latency_s: float = 0.0
    bytes_per_s: int = 0
    slice_bytes: int = CHUNK_BYTES
    limit_bytes: int = 0
    black_hole: bool = False

    def clear(self) -> None:
        self.__init__()  # type: ignore[misc]  # back to how it was made

    def most(self) -> int:
        """How much is taken at once: a tenth of a second's worth where bandwidth is limited."""
        return max(1, min(self.slice_bytes, self.bytes_per_s // 10 or CHUNK_BYTES))

    def pause_s(self, size: int) -> float:
        return self.latency_s + (size / self.bytes_per_s if self.bytes_per_s else 0.0)


class Link:
    """One connection through the proxy, and its other half."""

    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self._ends = (near, far)

    def reset(self) -> None:
        for end in self._ends:
            wire = end.get_extra_info("socket")
            if wire is not None and wire.fileno() >= 0:  # else it is closed already
                wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
            end.transport.abort()


class FaultProxy:
    """Listens on a loopback port that the kernel chose. `refusing` resets whoever comes.

    `backends` are dialled until one answers, beginning with the one that answered last; with `in_turn`, with
    the one after it: a load balancer.
    """

    def __init__(self, backends: Sequence[Address]) -> None:
        self.backends = list(backends)
        self.to_server = Way()
        self.to_client = Way()
        self.refusing = False
        self.in_turn = False
        self.links: set[Link] = set()
        self.accepted = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._last = 0

    @classmethod
    async def listen(cls, *backends: Address) -> Self:
        proxy = cls(backends)
        proxy._server = await asyncio.start_server(proxy._accept, "127.0.0.1", 0, limit=CHUNK_BYTES)
        return proxy

    @property
    def port(self) -> int:
        assert self._server is not None, "listen() made it"
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def cut(self) -> None:
        """Nobody gets through any more, and whoever was is reset."""
        self.refusing = True
        self.reset()

    def partition(self, *, to_server: bool = True, to_client: bool = True) -> None:
        """A black hole in these directions, for connections to come as well."""
        self.to_server.black_hole, self.to_client.black_hole = to_server, to_client

    def reset(self) -> None:
        """RST on every connection."""
        for link in list(self.links):
            link.reset()

    def mend(self) -> None:
        """As it was at first."""
        self.refusing = False
        self.to_server.clear()
        self.to_client.clear()

    async def close(self) -> None:
        assert self._server is not None, "listen() made it"
        self._server.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far = None if self.refusing else await self._dial()
        if far is None:
            Link(writer, writer).reset()
            return
        far_reader, far_writer = far
        link = Link(writer, far_writer)
        self.links.add(link)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(reader, far_writer, self.to_server))
                both.create_task(self._pump(far_reader, writer, self.to_client))
        except* (OSError, RuntimeError):
            pass  # one end broke (uvloop says RuntimeError of a closed one): so does the other, below
        finally:
            self.links.discard(link)
            link.reset()

    async def _dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        first = self._last + self.in_turn
        for step in range(len(self.backends)):
            place = (first + step) % len(self.backends)
            try:
                answered = await self.backends[place].dial()
            except (OSError, TimeoutError):
                continue  # the next one, as a load balancer would
            self._last = place
            return answered
        return None

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way) -> None:
        """Pass on until one end closes, which closes this half alone. Raises ConnectionError at a limit."""
        passed = 0
        while True:
            while way.black_hole:
                await asyncio.sleep(STEP_S)
            data = await reader.read(way.most())
            while way.black_hole:
                await asyncio.sleep(STEP_S)
            if not data:
                writer.write_eof()
                return
            if pause_s := way.pause_s(len(data)):
                await asyncio.sleep(pause_s)
            if way.limit_bytes and passed + len(data) > way.limit_bytes:
                writer.write(data[: way.limit_bytes - passed])
                await writer.drain()
                raise ConnectionResetError("the limit of this connection is reached")
            writer.write(data)
            await writer.drain()
            passed += len(data)
