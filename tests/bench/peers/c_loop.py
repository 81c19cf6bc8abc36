"""The bare C loop (tests/bench/bare_loop.c), compiled on the spot, as a side: one write(2) per delivery."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from channels.encoding import websocket_frame
from tests.bench.harness import Broken, Missing, running
from tests.bench.sides import Side, clients, pushed
from tests.ground import temporary_ground

CHANNEL = "inventory:bare"
SOURCE = Path(__file__).parent.parent / "bare_loop.c"


@contextlib.asynccontextmanager
async def side(followers: int) -> AsyncIterator[Side]:
    """Raises Missing where there is no C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise Missing("no C compiler: apt-get install gcc libc6-dev")
    with temporary_ground("bench") as place:
        program = place / "bare_loop"
        compiling = await asyncio.create_subprocess_exec(compiler, "-O2", "-o", program, SOURCE)
        if await asyncio.wait_for(compiling.wait(), 60) != 0:
            raise Broken("the bare loop does not compile")
        async with running("the bare C loop", str(program)) as server:
            port = (await server.hear())["port"]

            async def publish(first: int, count: int) -> None:
                frames = [websocket_frame(pushed(CHANNEL, offset)) for offset in range(first, first + count)]
                server.send(b"".join(len(frame).to_bytes(4, "little") + frame for frame in frames))

            async with clients("centrifugal", port, followers, CHANNEL) as (crowd, at):
                yield Side(server, crowd, at, followers, publish)
