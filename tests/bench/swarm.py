"""The swarm: a process with many authenticated bare websockets that come, stay, are lost at once and return.

Each says who it is with a token of its own and notes what the server joins it to; on return it gives the
positions at which it stood. Every publication must be the next one of its channel, else it says `broken`.

stdin   {"come": {"first", "count", "at_once"}}, {"vanish": true}, {"report": true}
stdout  {"there": n, "seconds"}; {"gone": n}; {"report": {what was counted}}
"""

import argparse
import asyncio
import random
import sys
import time
from pathlib import Path
from typing import Any, Final

import msgspec
import uvloop

from tests.bench.followers import PING, PONG, UPGRADE, frame_size, masked, payload_of, say, stop
from tests.bench.harness import Broken

COME_WITHIN_S: Final = 60.0
AGAIN_AFTER_S: Final = (0.2, 1.0)  # a random time, as SDKs do


class Later(Exception):
    """The server is too busy now: the client is to come again."""


class Client(asyncio.Protocol):
    """One socket after the other of one user; `positions` outlive them."""

    def __init__(self, token: str, upgrade: bytes) -> None:
        self.positions: dict[str, dict[str, Any]] = {}
        self.publications = self.unrecovered = self.retries = 0
        self._token = token
        self._upgrade = upgrade
        self.transport: asyncio.Transport | None = None

    async def come(self, host: str, port: int) -> None:
        """Connect, again and again where the server has no time for it."""
        async with asyncio.timeout(COME_WITHIN_S):
            while True:
                try:
                    return await self._try(host, port)
                except (Later, ConnectionError):
                    self.retries += 1
                    if self.transport is not None:
                        self.vanish()
                    await asyncio.sleep(random.uniform(*AGAIN_AFTER_S))  # noqa: S311 - no secret

    async def _try(self, host: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        self._connected: asyncio.Future[None] = loop.create_future()
        self._rest = b""
        self._is_upgraded = self._is_there = False
        await loop.create_connection(lambda: self, host, port)
        await self._connected

    def vanish(self) -> None:
        """The socket is lost: no farewell."""
        transport, self.transport = self.transport, None
        assert transport is not None, "only who is there can vanish"
        transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # it is one
        self.transport = transport
        transport.write(self._upgrade)

    def connection_lost(self, error: Exception | None) -> None:
        if self.transport is None:
            return
        if not self._is_there:
            self.transport = None
            self._later()
        else:
            stop(f"a connection was closed: {error}, unread {self._rest[:200]!r}")

    def data_received(self, data: bytes) -> None:
        try:
            self._rest = self._read(self._rest + data if self._rest else data)
        except Broken as broken:
            stop(str(broken))

    def _read(self, data: bytes) -> bytes:
        if not self._is_upgraded:
            head, found, data = data.partition(b"\r\n\r\n")
            if not found:
                return head
            if not head.startswith(b"HTTP/1.1 101 "):
                raise Broken(f"no websocket: {head[:200]!r}")
            self._is_upgraded = True
            self._write(masked(self._hello(), 0x81))
        while (size := frame_size(data, 0)) and size <= len(data):
            frame, data = data[:size], data[size:]
            if frame == PING:
                self._write(PONG)
            elif frame[0] == 0x81:
                for line in payload_of(frame).split(b"\n"):
                    self._heard(msgspec.json.decode(line))
            elif frame[0] == 0x88 and not self._is_there:
                self._later()
                return b""
            else:
                raise Broken(f"not a text frame: {frame[:200]!r}")
        return data

    def _hello(self) -> bytes:
        subs = {channel: {"recover": True, **position} for channel, position in self.positions.items()}
        return msgspec.json.encode({"id": 1, "connect": {"token": self._token, "subs": subs}})

    def _heard(self, message: dict[str, Any]) -> None:
        if message.get("error", {}).get("temporary") and not self._is_there:
            self._later()
        elif "error" in message:
            raise Broken(f"refused: {message}")
        elif "push" in message:
            channel, pub = message["push"]["channel"], message["push"].get("pub")
            if pub is not None:
                self._published(channel, pub["offset"])
        elif "connect" in message:
            for channel, sub in message["connect"]["subs"].items():
                self._joined(channel, sub)
            self._answered()

    def _answered(self) -> None:
        """`connect` was answered, and that is all we wait for."""
        self.ready()

    def ready(self) -> None:
        self._is_there = True
        if not self._connected.done():
            self._connected.set_result(None)

    def _later(self) -> None:
        if not self._connected.done():
            self._connected.set_exception(Later())

    def _joined(self, channel: str, sub: dict[str, Any]) -> None:
        if sub.get("recovered"):
            for pub in sub.get("publications", ()):
                self._published(channel, pub["offset"])
            return
        if channel in self.positions:
            self.unrecovered += 1
        self.positions[channel] = {"epoch": sub["epoch"], "offset": sub.get("offset", 0)}

    def _published(self, channel: str, offset: int) -> None:
        position = self.positions[channel]
        if offset != position["offset"] + 1:
            raise Broken(f"on {channel} after offset {position['offset']} came {offset}")
        position["offset"] = offset
        self.publications += 1

    def _write(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)


async def _come(clients: list[Client], host: str, port: int, at_once: int) -> None:
    gate = asyncio.Semaphore(at_once)

    async def one(client: Client) -> None:
        async with gate:
            await client.come(host, port)

    began = time.perf_counter()
    await asyncio.gather(*(one(client) for client in clients))
    say(there=len(clients), seconds=time.perf_counter() - began)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, kind in {"host": str, "port": int, "tokens": Path}.items():
        parser.add_argument(name, type=kind)
    given = parser.parse_args()
    upgrade = UPGRADE.format(host=given.host, port=given.port).encode()
    clients = [Client(token, upgrade) for token in given.tokens.read_text().split()]
    say(ready=len(clients))
    told = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(told), sys.stdin)
    while line := await told.readline():
        command = msgspec.json.decode(line, type=dict[str, Any])
        if "come" in command:
            first, count = command["come"]["first"], command["come"]["count"]
            await _come(clients[first : first + count], given.host, given.port, command["come"]["at_once"])
        elif "vanish" in command:
            there = [client for client in clients if client.transport is not None]
            for client in there:
                client.vanish()
            say(gone=len(there))
        elif "report" in command:
            totals = {
                "publications": sum(client.publications for client in clients),
                "unrecovered": sum(client.unrecovered for client in clients),
                "retries": sum(client.retries for client in clients),
                "channels": sum(len(client.positions) for client in clients),
            }
            say(report=totals)


if __name__ == "__main__":
    uvloop.run(main())
