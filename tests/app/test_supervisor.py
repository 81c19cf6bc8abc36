"""A worker that dies is noticed when it dies, also by whoever waits just then for its answer."""

import asyncio
import socket
import time

import uvicorn

from app.supervisor import ServerProcess

WITHIN_S = 20
LONGER_S = 300


class Silent(ServerProcess):
    """A worker that never answers."""

    def target(self, sockets: list[socket.socket] | None = None) -> None:
        time.sleep(LONGER_S)


async def test_one_that_is_killed_amid_a_question_is_dead_at_once() -> None:
    worker = Silent(uvicorn.Config("app.main:create_app"), [])
    worker.start()
    try:
        asked = asyncio.create_task(asyncio.to_thread(worker.is_alive, LONGER_S))
        await asyncio.sleep(0.2)
        assert not asked.done()
        worker.process.kill()
        assert await asyncio.wait_for(asked, WITHIN_S) is False
    finally:
        worker.process.kill()
        worker.join()


async def test_one_that_says_nothing_is_asked_for_as_long_as_is_said() -> None:
    worker = Silent(uvicorn.Config("app.main:create_app"), [])
    worker.start()
    try:
        assert worker.is_alive(0.05) is False
        assert worker.process.is_alive()
    finally:
        worker.process.kill()
        worker.join()
