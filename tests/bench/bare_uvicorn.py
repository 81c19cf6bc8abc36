"""A bare websocket server in uvicorn with wsproto: it accepts whoever comes and answers one frame; no more.

The limit for handshakes and memory of a server that stands on this engine.

stdout  {"port": n}
"""

from typing import Any, Final

import msgspec
import uvicorn

from app.server import SETTINGS, listening
from tests.bench.followers import say

ANSWER: Final = msgspec.json.encode({"id": 1, "connect": {"subs": {}}}).decode()


async def serve(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI application."""
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": ANSWER})


def main() -> None:
    with listening("127.0.0.1", 0) as listener:
        say(port=listener.getsockname()[1])
        settings = SETTINGS | {"http": "httptools", "ws": "wsproto", "lifespan": "off"}
        uvicorn.Server(uvicorn.Config(serve, **settings)).run(sockets=[listener])


if __name__ == "__main__":
    main()
