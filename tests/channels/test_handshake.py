"""The opening handshake (RFC 6455 section 4.2): who is let in, and what the others are told."""

import asyncio
import json
import logging
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from channels import endpoint
from channels.handshake import PATH
from channels.wire import LiveProtocol
from tests.app.reading_metrics import staff_scraper
from tests.conftest import ORIGIN, Served
from tests.factories import Api

WITHIN_S = 5.0
# The key of RFC 6455 section 1.3, and its answer.
KEY, ACCEPTED = "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
ASKED = {
    "Host": "localhost",
    "Upgrade": "websocket",
    "Connection": "keep-alive, Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}


async def _answer(
    served: Served,
    headers: dict[str, str],
    *,
    method: str = "GET",
    version: str = "1.1",
    path: str = PATH,
) -> str:
    """The head of the answer; all of it where that is a refusal."""
    where = urlsplit(served.url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    lines = [
        f"{method} {path} HTTP/{version}",
        *(f"{name}: {said}" for name, said in headers.items()),
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
    try:
        async with asyncio.timeout(WITHIN_S):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            return head if " 101 " in head else head + (await reader.read()).decode()
    finally:
        writer.close()


async def test_the_key_is_answered_as_the_rfc_has_it(served: Served) -> None:
    answer = await _answer(served, ASKED)
    assert answer.startswith("http/1.1 101 ")
    assert f"sec-websocket-accept: {ACCEPTED.lower()}\r\n" in answer
    assert "upgrade: websocket\r\n" in answer
    assert "connection: upgrade\r\n" in answer
    assert "sec-websocket-protocol" not in answer
    assert "sec-websocket-extensions" not in answer


async def test_a_subprotocol_is_answered_only_if_we_speak_it(served: Served) -> None:
    spoken = await _answer(served, ASKED | {"Sec-WebSocket-Protocol": "chat, centrifuge-protobuf"})
    assert "sec-websocket-protocol: centrifuge-protobuf\r\n" in spoken
    unknown = await _answer(served, ASKED | {"Sec-WebSocket-Protocol": "chat"})
    assert " 101 " in unknown
    assert "sec-websocket-protocol" not in unknown


async def test_another_version_hears_which_one_would_do(served: Served) -> None:
    answer = await _answer(served, ASKED | {"Sec-WebSocket-Version": "8"})
    assert answer.startswith("http/1.1 426 ")
    assert "sec-websocket-version: 13\r\n" in answer


@pytest.mark.parametrize("missing", ["Host", "Sec-WebSocket-Key", "Sec-WebSocket-Version"])
async def test_what_is_missing_is_refused(served: Served, missing: str) -> None:
    answer = await _answer(served, {name: said for name, said in ASKED.items() if name != missing})
    assert answer.startswith("http/1.1 400 ")


@pytest.mark.parametrize("key", ["", "short", "x" * 400])
async def test_a_key_that_is_none_is_refused(served: Served, key: str) -> None:
    assert (await _answer(served, ASKED | {"Sec-WebSocket-Key": key})).startswith("http/1.1 400 ")


async def test_only_get_upgrades(served: Served) -> None:
    assert (await _answer(served, ASKED, method="PUT")).startswith("http/1.1 400 ")


async def test_an_older_http_does_not_upgrade(served: Served) -> None:
    assert (await _answer(served, ASKED, version="1.0")).startswith("http/1.1 400 ")


async def test_an_origin_that_is_not_listed_is_refused(served: Served) -> None:
    answer = await _answer(served, ASKED | {"Origin": "https://elsewhere.example"})
    assert answer.startswith("http/1.1 403 ")


# What is sent, besides or instead of what is right; where to; and what it is told.
REFUSED: dict[str, tuple[dict[str, str], str, int, str]] = {
    "a foreign page": ({"Origin": "https://elsewhere.example"}, PATH, 403, "origin_not_allowed"),
    "a path that is none": ({}, "/connection/nope", 404, "no_such_route"),
    "a page that is let in, there": ({"Origin": ORIGIN}, "/api/version", 404, "no_such_route"),
    "another version": ({"Sec-WebSocket-Version": "8"}, PATH, 426, "upgrade_required"),
    "no key": ({"Sec-WebSocket-Key": ""}, PATH, 400, "malformed_handshake"),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_a_refusal_is_a_problem_that_is_counted_and_in_the_log(
    served: Served, api: Api, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    headers, path, status, code = REFUSED[what]
    scrape = await staff_scraper(api)
    before = await scrape.value("problems_total", code=code)
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="maycole.requests"):
        answer = await _answer(served, ASKED | {"X-Request-Id": "asked-for-a-socket"} | headers, path=path)
    head, _, body = answer.partition("\r\n\r\n")
    assert head.startswith(f"http/1.1 {status} ")
    for line in (
        "content-type: application/problem+json",
        f"content-length: {len(body)}",
        "x-request-id: asked-for-a-socket",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
        "cache-control: no-store",
        "connection: close",
    ):
        assert head.split("\r\n").count(line) == 1, line
    problem = json.loads(body)
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["requestId"] == "asked-for-a-socket"
    [line] = _lines(caplog)
    route = path if path == PATH else "unmatched"
    asked = {"method": "GET", "route": route, "status": status, "code": code, "client": "127.0.0.1"}
    assert asked.items() <= line.items()
    assert await scrape.value("problems_total", code=code) == before + 1


async def test_a_mistake_of_ours_is_said_in_its_answer_too(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(scope: Any) -> None:
        raise LookupError("never")

    monkeypatch.setattr(endpoint, "require_allowed", fails)
    answer = await _answer(served, ASKED | {"X-Request-Id": "asked-for-a-socket"})
    assert answer.startswith("http/1.1 500 ")
    problem = json.loads(answer.partition("\r\n\r\n")[2])
    assert (problem["code"], problem["requestId"]) == ("internal_error", "asked-for-a-socket")


async def test_a_server_that_stops_meanwhile_says_so(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def stops(scope: Any) -> None:
        for each in list(served.server.server_state.connections):
            if isinstance(each, LiveProtocol) and not each.handshake_complete:
                each.shutdown()

    monkeypatch.setattr(endpoint, "require_allowed", stops)
    answer = await _answer(served, ASKED)
    assert answer.startswith("http/1.1 503 ")
    assert json.loads(answer.partition("\r\n\r\n")[2])["code"] == "busy"
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_what_asks_for_no_upgrade_is_told_to(http: httpx.AsyncClient) -> None:
    answer = await http.get(PATH)
    assert (answer.status_code, answer.json()["code"]) == (426, "upgrade_required")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert (answer.headers["Upgrade"], answer.headers["Connection"]) == ("websocket", "Upgrade")
    assert (await http.post(PATH)).status_code == 405


def _lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The lines of requests on this path's behalf; that of the metrics is none of them."""
    fields = [record.__dict__["fields"] for record in caplog.records if record.name == "maycole.requests"]
    return [line for line in fields if line["route"] != "/api/metrics"]


async def test_an_upgrade_behind_a_request_that_is_still_answered_is_refused(served: Served) -> None:
    where = urlsplit(served.url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    upgrade = "\r\n".join(f"{name}: {said}" for name, said in ASKED.items())
    first = "GET /api/health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    writer.write(f"{first}GET /connection/websocket HTTP/1.1\r\n{upgrade}\r\n\r\n".encode())
    async with asyncio.timeout(WITHIN_S):
        said = await reader.read()
    writer.close()
    assert b" 101 " not in said
    assert b" 503 " in said
