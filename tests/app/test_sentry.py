"""Bugs are reported where SENTRY_DSN says: what and where, and nothing of whom or what it was about."""

import asyncio
import gzip
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from app.adapters import sentry
from app.config import Config
from app.config_front import Front
from app.worker import Worker
from domain import bugs, jobs
from domain.auth import api_keys
from tests.app.company import problem
from tests.factories import Api
from tests.raw import raw

CANARY = "canary-b1946ac9"


class Tracker:
    """What Sentry is to us: a server that takes envelopes. `silent`, it takes them and does not answer."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.silent = False
        self.asked = asyncio.Event()
        self.writers: list[asyncio.StreamWriter] = []
        self.done = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One envelope a connection."""
        self.writers.append(writer)
        try:
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines)
            body = await reader.readexactly(int(headers["content-length"]))
            assert first.startswith("POST /api/42/envelope/ "), first
            self.bodies.append(gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body)
            self.asked.set()
            if self.silent:
                await reader.read()
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # it hung up
        finally:
            writer.close()
            self.done += 1

    async def end(self) -> None:
        for writer in self.writers:
            writer.close()
        while self.done < len(self.writers):
            await asyncio.sleep(0.01)

    def events(self) -> list[dict[str, Any]]:
        """The last line of an envelope is its event."""
        return [json.loads(body.strip().split(b"\n")[-1]) for body in self.bodies]


@asynccontextmanager
async def tracking(config: Config) -> AsyncIterator[Tracker]:
    """Everything that is reported until the block ends has come in when it has."""
    tracker = Tracker()
    server = await asyncio.start_server(tracker.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    front = Front(sentry_dsn=f"http://abcdef@127.0.0.1:{port}/42", commit="c0ffee")
    try:
        client = sentry.installed(msgspec.structs.replace(config, front=front))
        try:
            yield tracker
        finally:
            await sentry.flushed(client)
    finally:
        server.close()
        await tracker.end()


def fails(message: str) -> Any:
    async def fail(*given: Any, **named: Any) -> Any:
        held = f"{CANARY} in a variable"
        try:
            raise KeyError(message)
        except KeyError as cause:
            raise RuntimeError(f"{message} {held}") from cause

    return fail


async def test_a_bug_is_reported_with_its_request_id_and_route_and_nothing_else(
    api: Api, config: Config, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ann = await api.person()
    monkeypatch.setattr(api_keys, "change", fails(f"{CANARY} in a message"))
    async with tracking(config) as tracker:
        answer = await ann.patch(
            f"/auth/api-keys/{CANARY}?query={CANARY}",
            {"name": CANARY},
            headers={
                "X-Request-Id": "request-0815",
                "X-Own": CANARY,
                "User-Agent": CANARY,
                "Cookie": f"a={CANARY}",
            },
        )
    refused = problem(answer, 500, "internal_error")
    assert CANARY not in answer.text.replace(refused["instance"], "")
    assert f"{CANARY} in a message" in caplog.text, "the log has it all"
    [event] = tracker.events()
    [body] = tracker.bodies
    for secret in (
        CANARY,
        ann.id,
        ann.email,
        ann.token,
        "127.0.0.1",
        config.jwt_secret,
        config.encryption_key,
    ):
        assert secret is not None
        assert secret.encode() not in body, secret
    assert event["tags"] == {"request_id": "request-0815"}
    assert event["transaction"] == "PATCH /api/auth/api-keys/{key_id}"
    assert event["level"] == "error"
    assert event["release"].endswith("+c0ffee")
    cause, error = event["exception"]["values"]
    assert (cause["type"], error["type"]) == ("KeyError", "RuntimeError")
    assert [frame["function"] for frame in error["stacktrace"]["frames"]][-2:] == ["change", "fail"]
    assert set(event) == {
        "event_id", "timestamp", "platform", "level", "release", "environment", "tags", "transaction",
        "exception",
    }  # fmt: skip


async def test_what_was_foreseen_is_not_reported(api: Api, config: Config) -> None:
    ann = await api.person()
    async with tracking(config) as tracker:
        for path in ("/nope", "/inventory/x", "/inventory?limit=x"):
            assert 400 <= (await ann.get(path)).status_code < 500
    assert tracker.events() == []


async def test_live_commands_jobs_and_tasks_report_too(
    url: str, api: Api, config: Config, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ann = await api.person()

    class Nothing(msgspec.Struct, frozen=True):
        pass

    job = jobs.Job("tests.fails", Nothing, tries=1)
    job.handler(fails(CANARY))
    row: Any = type("Row", (), {"id": 1, "entrypoint": "tests.fails", "attempts": 0, "payload": b"{}"})()
    monkeypatch.setattr("app.worker._write_down", fails_not)
    async with tracking(config) as tracker:
        monkeypatch.setattr("channels.endpoint.received", fails(CANARY))
        async with raw(url) as client:
            await client.send({"id": 1, "connect": {"token": ann.token}})
            assert await client.closed() == 3004
        await Worker(config.database_url or "")._failed(job, row, RuntimeError(CANARY))
    del jobs.DECLARED["tests.fails"]
    assert [event["transaction"] for event in tracker.events()] == ["a live command", "job tests.fails"]
    assert not any(CANARY.encode() in body for body in tracker.bodies)


async def fails_not(*given: Any) -> None:
    pass


async def test_nobody_waits_for_a_tracker_that_does_not_answer(
    api: Api, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await api.person()
    monkeypatch.setattr(api_keys, "change", fails("x"))
    monkeypatch.setattr(sentry, "FLUSH_WITHIN_S", 0.2)
    async with tracking(config) as tracker:
        tracker.silent = True
        for _ in range(3):
            problem(await ann.patch("/auth/api-keys/x", {"name": "x"}), 500, "internal_error")
        await asyncio.wait_for(tracker.asked.wait(), 60)
    assert len(tracker.bodies) == 1, "the others wait for that one, in vain"


async def test_without_an_address_nobody_is_told(config: Config, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        assert sentry.installed(config) is None
        bugs.report(RuntimeError("x"), where="nowhere")
        await sentry.flushed(None)
    told = [record for record in caplog.records if record.name.startswith(("maycole", "sentry"))]
    assert told == []
