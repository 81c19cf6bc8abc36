"""The bare uvloop loop (tests/bench/bare_loop.py) as a side."""

import contextlib
from collections.abc import AsyncIterator

from channels.encoding import websocket_frame
from tests.bench.harness import module, running
from tests.bench.sides import Side, clients, pushed

CHANNEL = "inventory:bare"


@contextlib.asynccontextmanager
async def side(followers: int) -> AsyncIterator[Side]:
    async with running("the bare uvloop loop", *module("bare_loop")) as server:
        port = (await server.hear())["port"]

        async def publish(first: int, count: int) -> None:
            frames = [websocket_frame(pushed(CHANNEL, offset)) for offset in range(first, first + count)]
            server.tell(write={"frames": [frame.hex() for frame in frames]})

        async with clients("centrifugal", port, followers, CHANNEL) as (crowd, at):
            yield Side(server, crowd, at, followers, publish)
