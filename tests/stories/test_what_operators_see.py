"""Operators see what happens: a line for each request, one sum over all workers, one trace through all.

One `maycole serve --workers 2` for all of it, beside the server of this process.
"""

import asyncio
import contextlib
import secrets
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec
import psutil
import pytest

from app.config import Config
from app.tracing import OpenTelemetry
from domain import tracing
from tests.app.reading_metrics import Scraper
from tests.doubles.collector import Collector, collecting
from tests.factories import Api, api_of, item
from tests.generous import COMMAND
from tests.listener import Listeners
from tests.processes import READY_WITHIN_S, environment

WITHIN_S = 90  # a worker that was killed starts anew, and this machine may be busy


class Operated(NamedTuple):
    """A server with two workers, and what its operator has of it."""

    url: str
    process: asyncio.subprocess.Process
    log: Path

    def lines(self) -> list[dict[str, Any]]:
        """What it has logged. Every line is JSON, or this fails."""
        return [msgspec.json.decode(line) for line in self.log.read_bytes().splitlines()]

    def workers(self) -> list[int]:
        """The processes that serve (multiprocessing also has one that only watches resources)."""
        found = []
        for child in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):  # it has just died
                if "spawn_main" in " ".join(child.cmdline()):
                    found.append(child.pid)
        return found


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as started:
        yield started


@pytest.fixture(scope="module")
async def operated(
    config: Config, collector: Collector, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Operated]:
    log = tmp_path_factory.mktemp("operated") / "log"
    env = environment(msgspec.structs.replace(config, log_level="INFO")) | {
        "METRICS_ALLOWED": "127.0.0.0/8",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_SERVICE_NAME": "there",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
    }
    with log.open("wb") as written:
        process = await asyncio.create_subprocess_exec(
            *COMMAND, "serve", "--workers=2", stdout=asyncio.subprocess.PIPE, stderr=written, env=env
        )
        assert process.stdout is not None
        try:
            said = (await asyncio.wait_for(process.stdout.readline(), READY_WITHIN_S)).decode()
            started = Operated(said.removeprefix("listening on ").strip(), process, log)
            await _until(lambda: _processes(started, 2))
            yield started
        finally:
            process.terminate()
            await process.wait()
            # Those that it started have its stdout, too: until they are gone as well.
            await process.stdout.read()


@pytest.fixture
async def theirs(operated: Operated) -> AsyncIterator[Api]:
    async with api_of(operated.url) as api:
        yield api


async def test_the_first_bug_after_a_start_is_seen_as_an_increase(operated: Operated) -> None:
    async with httpx.AsyncClient(base_url=operated.url) as http:
        read = await Scraper(http).read()
    begun = [one.value for one in read.samples if one.labels.get("code") == "internal_error"]
    assert begun == [0.0], "an alert is about growth: of what was not there before there is none"


async def test_a_request_is_one_line_without_what_was_sent(operated: Operated, theirs: Api) -> None:
    ann = await theirs.person()
    beans = await item(ann)
    request_id, secret = f"req-{secrets.token_hex(8)}", secrets.token_hex(12)
    answer = await ann.put(
        f"/inventory/{beans['id']}?canary={secret}",
        {"name": secret},
        headers={"X-Request-Id": request_id, "Cookie": f"it={secret}"},
    )
    await _until(lambda: _said(operated, request_id))

    [line] = [line for line in operated.lines() if line.get("request_id") == request_id]
    assert line.pop("timestamp").startswith("20")
    assert line.pop("duration_ms") > 0
    assert line == {
        "level": "info",
        "logger": "maycole.requests",
        "event": "request",
        "request_id": request_id,
        "method": "PUT",
        "route": "/api/inventory/{item_id}",
        "status": answer.status_code,
        "bytes": len(answer.content),
        "user_id": ann.id,
        "client": "127.0.0.1",
    } | ({"code": answer.json()["code"]} if answer.is_error else {})
    assert secret not in operated.log.read_text()
    assert beans["id"] not in operated.log.read_text()


async def test_a_scrape_of_any_worker_tells_of_all_and_nothing_goes_back_when_one_dies(
    operated: Operated, theirs: Api
) -> None:
    asked = {"method": "GET", "route": "/api/version", "status": "2xx"}
    scrape = Scraper(theirs.http)
    before = await scrape.value("http_request_seconds_count", **asked)
    for _ in range(60):
        async with httpx.AsyncClient(base_url=operated.url) as once:  # a connection may meet either worker
            assert (await once.get("/api/version")).is_success
    for _ in range(6):
        async with httpx.AsyncClient(base_url=operated.url) as once:
            assert await Scraper(once).value("http_request_seconds_count", **asked) == before + 60
    assert await scrape.value("processes") == 2

    killed = operated.workers()[0]
    psutil.Process(killed).kill()
    await _until(lambda: _processes(operated, 2, without=killed))

    async with httpx.AsyncClient(base_url=operated.url) as once:
        assert await Scraper(once).value("http_request_seconds_count", **asked) == before + 60
        assert (await once.get("/api/version")).is_success
        assert await Scraper(once).value("http_request_seconds_count", **asked) == before + 61
        shared = Path(psutil.Process(operated.workers()[0]).environ()["PROMETHEUS_MULTIPROC_DIR"])
        await _until(lambda: _is(not list(shared.glob(f"*_{killed}.db"))))
        assert await Scraper(once).value("http_request_seconds_count", **asked) == before + 61


async def test_the_log_tells_more_and_less_at_a_signal_in_every_worker(operated: Operated) -> None:
    for number, level in ((signal.SIGUSR1, "DEBUG"), (signal.SIGUSR2, "INFO"), (signal.SIGUSR2, "WARN")):
        before = _told_of(operated, level)
        operated.process.send_signal(number)
        # The one that was started, and its two workers.
        await _until(lambda before=before, level=level: _is(_told_of(operated, level) == before + 3))
    before = _told_of(operated, "INFO")
    operated.process.send_signal(signal.SIGUSR1)
    await _until(lambda: _is(_told_of(operated, "INFO") == before + 3))


async def test_one_trace_goes_from_a_request_here_to_the_frame_on_another_process(
    operated: Operated,
    collector: Collector,
    api: Api,
    listeners: Listeners,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    ann = await api.person()
    channel = f"inventory:{ann.personal_team_id}"
    screen = await listeners(operated.url, ann.token)
    await screen.follow(channel)
    their_trace, their_span = secrets.token_hex(16), secrets.token_hex(8)
    traces = OpenTelemetry()
    tracing.install(traces)
    try:
        answer = await ann.post(
            "/inventory",
            {"name": "traced", "quantity": 1},
            headers={"traceparent": f"00-{their_trace}-{their_span}-01"},
        )
        assert answer.status_code == 201
        await screen.until(lambda: bool(screen.seen[channel]))
    finally:
        tracing.install(None)
        await asyncio.to_thread(traces.close)
    # Nobody is trusted to name the trace: it is a new one, which is linked to theirs.
    await _until(lambda: _is(bool(collector.following(their_trace))))
    [followed] = collector.following(their_trace)
    trace_id = followed.trace_id.hex()
    assert [link.span_id.hex() for link in followed.links] == [their_span]
    assert collector.of(their_trace) == {}
    # The item and its movement are one statement (domain/rows.py).
    wanted = {"POST /api/inventory", "transaction", "WITH", "announce", "deliver"}
    await _until(lambda: _is(wanted <= collector.of(trace_id).keys()))

    spans = collector.of(trace_id)
    request, transaction = spans["POST /api/inventory"][1], spans["transaction"][1]
    announced, (service, delivered) = spans["announce"][1], spans["deliver"]
    assert (request.span_id, request.parent_span_id) == (followed.span_id, b"")
    assert transaction.parent_span_id == request.span_id
    assert announced.parent_span_id == request.span_id
    assert (service, spans["announce"][0]) == ("there", "maycole")
    assert delivered.parent_span_id == announced.span_id
    assert [link.span_id for link in delivered.links] == [announced.span_id]
    assert delivered.end_time_unix_nano >= delivered.start_time_unix_nano
    assert not [span for _, span in spans.values() if "traced" in str(span)], "no values are in a span"


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not await condition():
            await asyncio.sleep(0.05)


async def _is(true: bool) -> bool:
    return true


async def _said(operated: Operated, what: str) -> bool:
    return what in operated.log.read_text()


def _told_of(operated: Operated, level: str) -> int:
    return sum(line["event"] == f"the log level is {level}" for line in operated.lines())


async def _processes(operated: Operated, wanted: int, *, without: int | None = None) -> bool:
    """Whether so many workers serve, and have said so."""
    if len(operated.workers()) != wanted or without in operated.workers():
        return False
    with contextlib.suppress(httpx.TransportError):
        async with httpx.AsyncClient(base_url=operated.url) as once:
            return await Scraper(once).value("processes") == wanted
    return False
