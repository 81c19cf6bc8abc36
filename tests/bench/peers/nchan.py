"""nchan, nginx's publish and subscribe module, as a side: websocket followers, messages by HTTP POST.

Debian's nginx with a prefix and configuration of its own. A message is what the product would push.
"""

import asyncio
import contextlib
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path

from tests.bench.harness import ANSWER_WITHIN_S, Broken, Missing, running
from tests.bench.sides import AHEAD_MAX, Side, clients, pushed
from tests.ground import temporary_ground

CHANNEL = "inventory:bare"
MODULE = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
CONFIGURATION = """
load_module {module};
daemon off;
worker_processes 1;
pid {place}/nginx.pid;
error_log stderr error;
events {{ worker_connections 15000; }}
http {{
    access_log off;
    client_body_temp_path {place}/body;
    proxy_temp_path {place}/proxy;
    fastcgi_temp_path {place}/fastcgi;
    uwsgi_temp_path {place}/uwsgi;
    scgi_temp_path {place}/scgi;
    keepalive_requests 1000000;
    nchan_shared_memory_size 256m;
    server {{
        listen 127.0.0.1:{port} backlog=2048;
        location = /publish {{
            nchan_publisher;
            nchan_channel_id bare;
            nchan_message_buffer_length {buffer};
        }}
        location = /connection/websocket {{
            nchan_subscriber websocket;
            nchan_channel_id bare;
            nchan_subscriber_first_message newest;
        }}
    }}
}}
"""


@contextlib.asynccontextmanager
async def side(followers: int) -> AsyncIterator[Side]:
    """Raises Missing where nginx or the module is not installed."""
    nginx = _nginx()
    with temporary_ground("bench") as place, socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        free.close()
        conf = place / "nginx.conf"
        conf.write_text(
            CONFIGURATION.format(module=MODULE, place=place, port=port, buffer=2 * AHEAD_MAX),
            encoding="utf-8",
        )
        async with running("nchan", nginx, "-p", str(place), "-e", "stderr", "-c", str(conf)) as server:
            reader, writer = await _publisher(port)

            async def publish(first: int, count: int) -> None:
                for offset in range(first, first + count):
                    writer.write(_post(pushed(CHANNEL, offset)))
                for _ in range(count):
                    await _answer(reader)

            try:
                async with clients("mute", port, followers, CHANNEL) as (crowd, at):
                    yield Side(server, crowd, at, followers, publish)
            finally:
                writer.close()


def _nginx() -> str:
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if nginx is None or not MODULE.exists():
        raise Missing("not installed: apt-get install nginx libnginx-mod-nchan")
    return nginx


async def _publisher(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    for _ in range(round(ANSWER_WITHIN_S / 0.1)):
        with contextlib.suppress(ConnectionRefusedError):
            return await asyncio.open_connection("127.0.0.1", port)
        await asyncio.sleep(0.1)
    raise Broken("nginx does not listen")


def _post(message: bytes) -> bytes:
    return b"POST /publish HTTP/1.1\r\nHost: bare\r\nContent-Length: %d\r\n\r\n%b" % (len(message), message)


async def _answer(reader: asyncio.StreamReader) -> None:
    """One answer to a POST: that it was taken, and its body, which says how many follow."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), ANSWER_WITHIN_S)
    if not head.startswith(b"HTTP/1.1 20"):
        raise Broken(f"nchan refused a message: {head[:200]!r}")
    size = next(
        (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
    )
    await reader.readexactly(size)
