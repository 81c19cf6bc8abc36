"""A server that is told to stop does so in order: not ready, no more, drained, finished, gone."""

import asyncio
import contextlib
import json
import logging
import signal
import sys
from collections.abc import AsyncIterator
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx
import msgspec
import pytest
import uvicorn

from app.config import Config
from app.stopping import StoppingServer
from domain import channels
from tests.factories import Api, Person, api_of
from tests.listener import Listener, Listeners
from tests.processes import MaycoleProcess, running

DELAY_S = 1.5
WITHIN_S = 30
GRACE_S = 0.5
_HURRIED = f"""
import sys
from app import cli, server
from tests import generous
generous.be_generous()
server.SETTINGS["timeout_graceful_shutdown"] = {GRACE_S}
cli.main(sys.argv[1:])
"""
HURRIED = (sys.executable, "-c", _HURRIED)


class Wire:
    """A connection that stays open, on which requests are asked for by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.body = b""  # of the last answer

    def begin(self, request: str, *headers: str) -> None:
        self.writer.write("\r\n".join([f"{request} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode())

    async def answer(self) -> tuple[int, dict[str, str]]:
        """Its status and headers; the body is read as well."""
        async with asyncio.timeout(WITHIN_S):
            status, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines if line)
            self.body = await self.reader.readexactly(int(headers["content-length"]))
        return int(status.split()[1]), headers

    async def ask(self, path: str) -> tuple[int, dict[str, str]]:
        self.begin(f"GET {path}")
        return await self.answer()


class Scene(NamedTuple):
    process: MaycoleProcess
    api: Api
    ann: Person


@contextlib.asynccontextmanager
async def wire(url: str) -> AsyncIterator[Wire]:
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()


@pytest.fixture
async def scene(config: Config) -> AsyncIterator[Scene]:
    own = msgspec.structs.replace(config, shutdown_delay_s=DELAY_S)
    async with running(own) as process, api_of(process.url) as api:
        yield Scene(process, api, await api.person())


async def test_it_says_so_before_it_refuses_anybody_and_finishes_what_it_began(
    scene: Scene, listeners: Listeners
) -> None:
    process, ann = scene.process, scene.ann
    listener = await listeners(process.url, ann.token)
    await listener.follow(channels.inventory(ann.personal_team_id))
    async with wire(process.url) as probe, wire(process.url) as slow:
        assert (await probe.ask("/api/health/ready"))[0] == 200
        body = b'{"name":"Tea","quantity":1}'
        slow.begin(
            "POST /api/inventory",
            f"Authorization: Bearer {ann.token}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
        )
        slow.writer.write(body[:5])

        process.process.terminate()

        # Not ready, and all else goes on: new connections as well.
        async with asyncio.timeout(WITHIN_S):
            while (answer := await probe.ask("/api/health/ready"))[0] == 200:
                await asyncio.sleep(0.01)
        assert answer[0] == 503
        assert "connection" not in answer[1]
        assert (await probe.ask("/api/health/live"))[0] == 200
        async with wire(process.url) as late:
            assert (await late.ask("/api/version"))[0] == 200
        assert not _cut_off(listener)

        # No more: who comes is refused, who is here is answered and told to go elsewhere.
        await _until_refused(process.url)
        status, headers = await probe.ask("/api/version")
        assert (status, headers["connection"]) == (200, "close")
        assert await probe.reader.read() == b""

        # Drained, and finished: a request that had begun is answered.
        await listener.until(lambda: _cut_off(listener))
        slow.writer.write(body[5:])
        status, headers = await slow.answer()
        assert (status, headers["connection"]) == (201, "close")
        async with asyncio.timeout(WITHIN_S):
            assert await process.process.wait() in (0, -signal.SIGTERM)


async def test_who_asks_a_second_time_gets_it_at_once(scene: Scene) -> None:
    process = scene.process
    async with wire(process.url) as probe:
        process.process.terminate()
        async with asyncio.timeout(WITHIN_S):
            while (await probe.ask("/api/health/ready"))[0] == 200:
                await asyncio.sleep(0.01)
        process.process.terminate()
        async with asyncio.timeout(WITHIN_S):
            assert await process.process.wait() == -signal.SIGTERM
        # It was in its delay, after which it would have answered this.
        assert await probe.reader.read() == b""


async def test_what_outlasts_the_grace_is_cut_off_and_told_so_and_the_process_goes(config: Config) -> None:
    async with (
        running(config, command=HURRIED) as process,
        api_of(process.url) as api,
        wire(process.url) as slow,
    ):
        ann = await api.person()
        slow.begin(
            "POST /api/inventory",
            f"Authorization: Bearer {ann.token}",
            "Content-Type: application/json",
            "Content-Length: 27",
            "Expect: 100-continue",
        )
        assert (await slow.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 "), (
            "it waits for the body"
        )
        process.process.terminate()
        # Long before the body would be too late.
        status, headers = await slow.answer()
        assert (status, headers["retry-after"], headers["connection"]) == (503, "1", "close")
        assert json.loads(slow.body)["code"] == "busy"
        assert await slow.reader.read() == b""
        async with asyncio.timeout(WITHIN_S):
            assert await process.process.wait() in (0, -signal.SIGTERM)


def _cut_off(listener: Listener) -> bool:
    """Whether the server has ended its connection, in the way after which clients come back."""
    return any(said[:2] == ("connecting", 3001) for said in listener.said)


async def _until_refused(url: str) -> None:
    async with asyncio.timeout(WITHIN_S), httpx.AsyncClient() as client:
        while True:
            try:
                await client.get(f"{url}/api/health/live", headers={"Connection": "close"})
            except httpx.TransportError:
                return
            await asyncio.sleep(0.02)


def test_what_was_logged_is_written_before_a_process_dies_of_the_signal_that_it_stopped_for() -> None:
    """A worker dies of it: nothing that runs at the end of an interpreter runs there."""
    written: list[bool] = []

    class Kept(logging.Handler):
        def flush(self) -> None:
            written.append(True)

    handler = Kept()
    logging.getLogger().addHandler(handler)
    try:
        with StoppingServer(uvicorn.Config("app.main:create_app")).capture_signals():
            pass
    finally:
        logging.getLogger().removeHandler(handler)
    assert written
