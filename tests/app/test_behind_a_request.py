"""What comes behind a request that is still worked on: it is answered first, with what came of it."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from channels import live_http
from domain import db
from tests.factories import Api, Person, item

GARBAGE = b"GARBAGE\r\n\r\n"
VERSION = b"GET /api/version HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST = VERSION.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
UPGRADE = (
    b"GET /connection/websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Said(NamedTuple):
    """One answer."""

    status: int
    headers: dict[str, str]
    body: dict[str, Any]


def answers(stream: bytes) -> list[Said]:
    """Everything that was said on one connection."""
    found = []
    while stream:
        head, _, rest = stream.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        size = int(headers.get("content-length", 0))
        body, stream = rest[:size], rest[size:]
        found.append(Said(int(first.split()[1]), headers, json.loads(body) if body else {}))
    return found


async def exchange(url: str, *parts: bytes, pause_s: float = 0.0) -> list[Said]:
    """Send these parts; what is answered until the server ends the connection."""
    return answers(await raw_exchange(url, *parts, pause_s=pause_s))


async def raw_exchange(url: str, *parts: bytes, pause_s: float = 0.0) -> bytes:
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    try:
        for part in parts:
            writer.write(part)
            await asyncio.sleep(pause_s)
        async with asyncio.timeout(60):
            return await reader.read()
    finally:
        writer.transport.abort()


def asked(person: Person, path: str, body: Any, *more: str) -> bytes:
    content = json.dumps(body)
    head = [
        f"POST /api{path} HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {person.token}",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
        *more,
    ]
    return "\r\n".join([*head, "", content]).encode()


def adjusting(person: Person, thing: dict[str, Any], *more: str) -> bytes:
    return asked(person, f"/inventory/{thing['id']}/adjust", {"delta": 1, "reason": "behind"}, *more)


@pytest.fixture
async def ann(api: Api) -> Person:
    return await api.person()


@pytest.fixture
async def quiet(caplog: pytest.LogCaptureFixture) -> AsyncIterator[pytest.LogCaptureFixture]:
    """Nothing in the log of this test is a warning, and nobody is said to have hung up."""
    with caplog.at_level(logging.INFO):
        yield caplog
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert 499 not in [line["status"] for line in lines(caplog)]


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The lines of requests."""
    return [record.__dict__["fields"] for record in caplog.records if record.name == "maycole.requests"]


@pytest.mark.parametrize("pause_ms", [None, *range(11)])
async def test_garbage_behind_a_change_does_not_hide_what_came_of_it(
    url: str, ann: Person, quiet: pytest.LogCaptureFixture, pause_ms: int | None
) -> None:
    change = asked(ann, "/inventory", {"name": "Beans", "quantity": 1, "teamId": ann.personal_team_id})
    if pause_ms is None:
        made, refused = await exchange(url, change + GARBAGE)
    else:
        made, refused = await exchange(url, change, GARBAGE, pause_s=pause_ms / 1000)
    assert made.status == 201
    assert (refused.status, refused.body["code"]) == (400, "malformed_request")
    assert refused.headers["connection"] == "close"
    assert (await ann.get(f"/inventory/{made.body['data']['id']}")).status_code == 200
    [line] = [line for line in lines(quiet) if line["status"] == 400]
    assert line["request_id"] == refused.body["requestId"]


async def test_every_request_before_it_is_answered_in_its_order(
    url: str, quiet: pytest.LogCaptureFixture
) -> None:
    said = await exchange(url, VERSION * 3 + GARBAGE + VERSION)
    assert [each.status for each in said] == [200, 200, 200, 400]


async def test_nor_does_it_come_before_an_answer_that_has_no_body(
    url: str, quiet: pytest.LogCaptureFixture
) -> None:
    said = await raw_exchange(url, VERSION.replace(b"GET", b"HEAD") + GARBAGE)
    assert [line for line in said.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")] == [
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 400 Bad Request",
    ]


@pytest.mark.parametrize(
    ("behind", "code"),
    [
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "malformed_request"),
        (b"GET /api/version?" + b"a" * (live_http.HEAD_BYTES_MAX + 1), "head_too_large"),
        (b"GET /api/ver", "request_timeout"),
        (UPGRADE, "busy"),
    ],
)
async def test_so_is_it_before_any_other_refusal(
    url: str,
    ann: Person,
    quiet: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    behind: bytes,
    code: str,
) -> None:
    monkeypatch.setattr(live_http, "HEAD_WITHIN_S", 0.1)
    thing = await item(ann)
    done, refused = await exchange(url, adjusting(ann, thing) + behind)
    assert done.status == 200
    assert done.body["data"]["quantity"] == thing["quantity"] + 1
    assert refused.body["code"] == code


async def test_who_waits_to_be_told_to_go_on_is_told_before_it(
    url: str, ann: Person, quiet: pytest.LogCaptureFixture
) -> None:
    waiting = adjusting(ann, await item(ann), "Expect: 100-continue")
    said = await exchange(url, waiting + GARBAGE)
    assert [each.status for each in said] == [100, 200, 400]


async def test_a_client_that_is_gone_is_noticed_behind_garbage_too(
    url: str, ann: Person, caplog: pytest.LogCaptureFixture
) -> None:
    thing = await item(ann)
    where = urlsplit(url)
    caplog.clear()
    with caplog.at_level(logging.INFO):
        async with db.transaction() as unit:
            await unit.connection.execute("SELECT FROM inventory WHERE id = $1 FOR UPDATE", thing["id"])
            _, writer = await asyncio.open_connection(where.hostname, where.port)
            writer.write(adjusting(ann, thing) + GARBAGE)
            async with asyncio.timeout(60):
                while not await unit.connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                    await asyncio.sleep(0.01)
                writer.transport.abort()
                while not lines(caplog):
                    await asyncio.sleep(0.01)
    [line] = lines(caplog)
    assert (line["status"], line["route"]) == (499, "/api/inventory/{item_id}/adjust")
    assert not [record for record in caplog.records if thing["id"] in record.getMessage()]


async def test_a_body_that_breaks_off_into_garbage_does_nothing(
    url: str, ann: Person, quiet: pytest.LogCaptureFixture
) -> None:
    thing = await item(ann)
    head, _, body = adjusting(ann, thing, "Transfer-Encoding: chunked").partition(b"\r\n\r\n")
    length = f"Content-Length: {len(body)}\r\n".encode()
    sent = head.replace(length, b"") + b"\r\n\r\n%x\r\n%b\r\n" % (len(body), body)
    for parts in ([sent, b"no chunk\r\n"], [sent + b"no chunk\r\n"], [VERSION + sent + b"no chunk\r\n"]):
        *before, refused = await exchange(url, *parts, pause_s=0.02)
        assert [each.status for each in before] == [200] * parts[0].count(VERSION)
        assert (refused.status, refused.body["code"]) == (400, "malformed_request")
        line = next(line for line in lines(quiet)[::-1] if line.get("code") == "malformed_request")
        assert line["status"] == 400
    assert (await ann.get(f"/inventory/{thing['id']}")).json()["data"]["quantity"] == thing["quantity"]


async def test_what_is_no_websocket_is_answered_as_if_it_had_not_asked_for_an_upgrade(
    url: str, quiet: pytest.LogCaptureFixture
) -> None:
    upgrade = VERSION.replace(b"\r\n\r\n", b"\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
    for parts in ([upgrade, LAST], [upgrade * 500 + LAST]):
        said = await exchange(url, *parts, pause_s=0.02)
        assert [each.status for each in said] == [200] * b"".join(parts).count(b"GET")


async def test_who_would_rather_speak_http_2_sends_the_body_all_the_same(
    url: str, ann: Person, quiet: pytest.LogCaptureFixture
) -> None:
    thing = await item(ann)
    sent = adjusting(
        ann, thing, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"
    )
    head, end, body = sent.partition(b"\r\n\r\n")
    for parts in (
        [sent + LAST],
        [sent, LAST],
        [head + end, body, LAST],
        [head + end, body[:5], body[5:] + LAST],
    ):
        said = await exchange(url, *parts, pause_s=0.02)
        assert [each.status for each in said] == [200, 200]
    assert (await ann.get(f"/inventory/{thing['id']}")).json()["data"]["quantity"] == thing["quantity"] + 4


async def test_the_body_of_such_a_request_is_not_the_next_request(
    url: str, ann: Person, quiet: pytest.LogCaptureFixture
) -> None:
    thing = await item(ann)
    hidden = adjusting(ann, thing)
    head = f"POST /api/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(hidden)}\r\n"
    head += "Connection: Upgrade, close\r\nUpgrade: h2c\r\n\r\n"
    [said] = await exchange(url, head.encode(), hidden, pause_s=0.02)
    assert said.status == 400
    assert (await ann.get(f"/inventory/{thing['id']}")).json()["data"]["quantity"] == thing["quantity"]
