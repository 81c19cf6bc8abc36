"""An application that says back what it hears, under the server as it is shipped: what Autobahn asks for.

    python -m tests.conformance.echo [SETTING=VALUE ...]

prints where it listens. Each SETTING=VALUE, such as ws_max_size=20000000, lifts one of app.server.SETTINGS.
"""

import json
import logging
import sys
from typing import Any

import uvicorn

from app.server import SETTINGS, address, listening


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """ASGI: websockets are echoed, frame by frame of the same kind."""
    if scope["type"] == "lifespan":
        for what in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{what}.complete"})
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({**event, "type": "websocket.send"})


def main(lifted: list[str]) -> None:
    """Serve until stopped. What goes wrong is on stderr, as `maycole serve` has it (app/main.py)."""
    logging.basicConfig(level="WARN", format="%(asctime)s %(levelname)s %(name)s %(message)s")
    changes = {name: json.loads(value) for name, value in (one.split("=") for one in lifted)}
    assert changes.keys() <= SETTINGS.keys(), "only what is shipped can be lifted"
    with listening("127.0.0.1", 0) as listener:
        print(f"listening on {address(listener)}", flush=True)
        uvicorn.Server(uvicorn.Config(echo, **{**SETTINGS, **changes})).run(sockets=[listener])


if __name__ == "__main__":
    main(sys.argv[1:])
