"""What is no request, or takes its time to be one: the engine's own answers, and its bounds."""

import asyncio
import json
import logging
import re
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from channels import live_http
from tests.app.reading_metrics import staff_scraper
from tests.app.test_behind_a_request import exchange
from tests.conftest import Served
from tests.factories import Api

SECURITY = (
    "x-content-type-options",
    "referrer-policy",
    "cross-origin-resource-policy",
    "content-security-policy",
)


async def say(url: str, *parts: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send these bytes and read to the end of the connection."""
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    try:
        for part in parts:
            writer.write(part)
            await asyncio.sleep(0)
        async with asyncio.timeout(60):
            answer = await reader.read()
    finally:
        writer.transport.abort()
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(first.split()[1]) if first else 0, headers, body


def problem_in(said: tuple[int, dict[str, str], bytes], status: int, code: str) -> dict[str, Any]:
    got, headers, body = said
    assert got == status
    assert headers["content-type"] == "application/problem+json"
    assert headers["connection"] == "close"
    assert int(headers["content-length"]) == len(body)
    problem: dict[str, Any] = json.loads(body)
    assert (problem["status"], problem["code"], problem["success"]) == (status, code, False)
    assert problem["title"]
    assert problem["detail"]
    assert re.fullmatch(r"req_[0-9a-f]{24}", problem["requestId"])
    assert headers["x-request-id"] == problem["requestId"]
    return problem


async def test_what_the_engine_refuses_is_counted_and_in_the_log(
    url: str, api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    scrape = await staff_scraper(api)
    before = await scrape.value("problems_total", code="malformed_request")
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="maycole.requests"):
        problem = problem_in(await say(url, b"FOO / HTTP/1.1\r\n\r\n"), 400, "malformed_request")
    [record] = [record for record in caplog.records if record.name == "maycole.requests"]
    assert record.__dict__["fields"] == {
        "request_id": problem["requestId"],
        "method": "OTHER",
        "route": "unmatched",
        "status": 400,
        "code": "malformed_request",
        "client": "127.0.0.1",
    }
    assert await scrape.value("problems_total", code="malformed_request") == before + 1
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_its_refusals_carry_what_every_answer_carries(
    served: Served, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = (await http.get("/connection/websocket")).headers
    for is_secure in (False, True):
        monkeypatch.setitem(served.app.state, "is_secure", is_secure)
        _, headers, _ = await say(served.url, b"hello\r\n\r\n")
        for name in (*SECURITY, "cache-control"):
            assert headers[name] == every[name], name
        assert ("strict-transport-security" in headers) is is_secure


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # somebody speaks TLS
        b"hello\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /api/version HTTP/1.1\r\nHo st: x\r\n\r\n",
        b"GET /api/version HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /api/version HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_a_problem_too(url: str, sent: bytes) -> None:
    problem_in(await say(url, sent), 400, "malformed_request")


async def test_a_head_is_not_larger_than_it_may_be(url: str) -> None:
    line = b"X-A: " + b"a" * 8000 + b"\r\n"
    lines = [line] * (live_http.HEAD_BYTES_MAX // len(line) + 2)
    problem_in(await say(url, b"GET /api/version HTTP/1.1\r\n", *lines), 431, "head_too_large")
    endless = [b"a" * 65536] * (live_http.HEAD_BYTES_MAX // 65536 + 1)
    problem_in(await say(url, b"GET /api/version?", *endless), 431, "head_too_large")


@pytest.mark.parametrize("size", [live_http.HEAD_BYTES_MAX + 1, 300_000, 400_000])
@pytest.mark.parametrize(
    "upgrade", [b"", b"Connection: Upgrade\r\nUpgrade: websocket\r\n"], ids=["", "upgrade"]
)
async def test_nor_where_it_is_whole_when_that_is_seen(url: str, size: int, upgrade: bytes) -> None:
    head = b"GET /api/version HTTP/1.1\r\nHost: localhost\r\n" + upgrade
    line = b"X-A: " + b"a" * 8000 + b"\r\n"
    lines = line * ((size - len(head)) // len(line) + 1)
    problem_in(await say(url, head + lines + b"\r\n"), 431, "head_too_large")


async def test_a_head_that_is_as_large_as_it_may_be_is_answered_behind_others(served: Served) -> None:
    first = b"GET /api/version HTTP/1.1\r\nHost: localhost\r\n"
    large = first + b"X-A: %b\r\n" % (b"a" * (live_http.HEAD_BYTES_MAX - 200))
    last = first + b"Connection: close\r\n\r\n"
    sent = (first + b"\r\n") * 300 + large + b"\r\n" + last
    said = await exchange(served.url, sent)
    assert [each.status for each in said] == [200] * 302


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", 0),
        (b"\r\n", 0),
        (b"GET /api/ver", 408),
        (b"GET /api/version HTTP/1.1\r\nHost: x\r\n", 408),
    ],
)
async def test_a_head_comes_in_time(
    url: str, monkeypatch: pytest.MonkeyPatch, sent: bytes, status: int
) -> None:
    monkeypatch.setattr(live_http, "HEAD_WITHIN_S", 0.1)
    monkeypatch.setattr(live_http, "SILENT_FOR_S", 0.1)
    said = await say(url, sent)
    if status:
        problem_in(said, status, "request_timeout")
    else:
        assert said == (0, {}, b""), "who has asked for nothing is told nothing"


async def test_nor_does_a_byte_now_and_then_keep_a_connection(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_http, "HEAD_WITHIN_S", 0.1)
    monkeypatch.setattr(live_http, "SILENT_FOR_S", 0.1)
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    # Its body is of no interest to the route, which has answered long since.
    writer.write(
        f"GET /api/version HTTP/1.1\r\nHost: {where.netloc}\r\nContent-Length: 100000\r\n\r\n".encode()
    )
    assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
    reading = asyncio.create_task(reader.read())
    async with asyncio.timeout(60):
        while not reading.done():
            writer.write(b"a")
            await asyncio.sleep(0.01)
    writer.transport.abort()


async def test_who_asks_in_pieces_and_in_time_is_answered(served: Served) -> None:
    where = urlsplit(served.url)
    asked = f"GET /api/version HTTP/1.1\r\nHost: {where.netloc}\r\nConnection: close\r\n\r\n"
    status, _, body = await say(served.url, *(bytes([byte]) for byte in asked.encode()))
    assert status == 200
    assert json.loads(body)["success"] is True
