"""The bare loop: fan-out where there is nothing else, one write per connection and message on uvloop.

It upgrades whoever connects, answers the two commands of the load client, and then writes finished frames, of
the same bytes as the product's, from memory: no log, no Redis, no rights, no batching.

stdin   {"write": {"frames": [hex, ...]}}  one after the other to every connection, one turn of the loop each
stdout  {"port": n}; {"written": n}
"""

import asyncio
import sys
from typing import Any, Final

import msgspec
import uvloop

from channels.encoding import websocket_frame
from tests.bench.harness import LINE_BYTES_MAX

UPGRADED: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=\r\n\r\n"
)
ANSWERS: Final = websocket_frame(b'{"id":1,"connect":{}}\n{"id":2,"subscribe":{}}')


class Peer(asyncio.Protocol):
    """One connection. It says two things: an upgrade, and one frame with two commands."""

    def __init__(self, transports: list[asyncio.Transport]) -> None:
        self._transports = transports
        self._upgraded = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # it is one
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._upgraded:
            self._transport.write(ANSWERS)
            self._transports.append(self._transport)
        elif data.endswith(b"\r\n\r\n"):
            self._upgraded = True
            self._transport.write(UPGRADED)


async def main() -> None:
    transports: list[asyncio.Transport] = []
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Peer(transports), "127.0.0.1", 0, backlog=2048)
    told = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(told), sys.stdin)
    _say(port=server.sockets[0].getsockname()[1])
    while line := await told.readline():
        for frame in msgspec.json.decode(line)["write"]["frames"]:
            _write(transports, bytes.fromhex(frame))
            # uvloop puts together what is written within one turn: here each message is to cost a write.
            await asyncio.sleep(0)


def _write(transports: list[asyncio.Transport], frame: bytes) -> None:
    for transport in transports:
        transport.write(frame)


def _say(**what: Any) -> None:
    print(msgspec.json.encode(what).decode(), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
