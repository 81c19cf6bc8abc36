"""What is sent around a body: trailers are no headers, and nothing of it is without a bound."""

from collections.abc import Sequence
from typing import Any

import pytest

from app.pipeline.proxies import Proxies
from channels import live_http
from tests.app.test_behind_a_request import exchange
from tests.app.test_heads import problem_in, say
from tests.conftest import Served

LOGIN = (
    b"POST /api/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
BODY = b"2\r\n{}\r\n"
TRAILERS = {
    b"authorization": b"Bearer nobody",
    b"x-request-id": b"trailing",
    b"host": b"elsewhere.example",
    b"origin": b"https://elsewhere.example",
    b"idempotency-key": b"trailing",
    b"if-match": b'"1"',
    b"cookie": b"maycole_session=nobody",
    b"expect": b"100-continue",
    b"x-forwarded-for": b"198.51.100.1",
    b"x-anything": b"else",
}
TRAILING = b"0\r\n" + b"".join(b"%b: %b\r\n" % line for line in TRAILERS.items()) + b"\r\n"
NEXT = b"GET /api/version HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


class Asked:
    """An application in front of the served one: it keeps the scopes of requests, after they were read."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.scopes: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        await self._app(scope, receive, send)

    def names(self) -> list[set[bytes]]:
        return [{name for name, _ in scope["headers"]} for scope in self.scopes]


@pytest.fixture
def seen(served: Served, monkeypatch: pytest.MonkeyPatch) -> Asked:
    front = Asked(served.server.config.loaded_app)
    monkeypatch.setattr(served.server.config, "loaded_app", front)
    return front


@pytest.mark.parametrize(
    "parts",
    [
        [LOGIN + BODY + TRAILING + NEXT],
        [LOGIN + BODY, TRAILING + NEXT],
        [LOGIN, BODY + TRAILING, NEXT],
        [LOGIN + BODY + TRAILING[:40], TRAILING[40:] + NEXT],
    ],
)
async def test_what_is_sent_as_a_trailer_is_no_header(url: str, seen: Asked, parts: Sequence[bytes]) -> None:
    refused, answered = await exchange(url, *parts, pause_s=0.02)
    assert refused.status == 422, "the body is none of a login"
    assert answered.status == 200, "what comes behind the trailers is read on"
    login, version = seen.scopes
    given = {b"host", b"content-type", b"transfer-encoding"}
    assert seen.names() == [given, {b"host", b"connection"}]
    assert refused.headers["x-request-id"] != "trailing"
    assert dict(login["headers"])[b"host"] == dict(version["headers"])[b"host"] == b"localhost"


async def test_nor_does_a_proxy_say_by_a_trailer_where_somebody_comes_from(url: str, seen: Asked) -> None:
    sent = LOGIN.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n")
    await exchange(url, sent + BODY + TRAILING + NEXT)
    resolved = Proxies(["127.0.0.1"]).resolved(seen.scopes[0])
    assert resolved["client"][0] == "203.0.113.9"


# A quarter of the bound a write, and half as much again as it.
PIECE = live_http.HEAD_BYTES_MAX // 4
TIMES = 6


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param([BODY, b"0\r\n", *[b"a:b\r\n" * (PIECE // 5)] * TIMES], id="trailers"),
        pytest.param([BODY, b"0\r\na:", *[b"b" * PIECE] * TIMES], id="a trailer that does not end"),
        pytest.param([BODY, b"0\r\n", *[b"a" * PIECE] * TIMES], id="the name of a trailer"),
        pytest.param([b"2;a=", *[b"b" * PIECE] * TIMES], id="what is said of a chunk"),
        pytest.param([b"1;%b\r\n \r\n" % (b"b" * PIECE)] * TIMES, id="of each of some chunks"),
        pytest.param([b"0" * PIECE] * TIMES, id="the length of a chunk"),
    ],
)
async def test_what_is_sent_beside_a_body_is_not_longer_than_a_head_may_be(
    url: str, seen: Asked, parts: Sequence[bytes]
) -> None:
    problem_in(await say(url, LOGIN, *parts), 431, "head_too_large")
    assert [len(scope["headers"]) for scope in seen.scopes] == [3]


async def test_nor_where_the_request_is_answered_already(url: str) -> None:
    asked = LOGIN.replace(b"POST /api/auth/login", b"GET /api/version")
    answered, refused = await exchange(url, asked, *[b"1;%b\r\n \r\n" % (b"b" * PIECE)] * TIMES)
    assert (answered.status, refused.status) == (200, 431)


async def test_a_body_in_the_smallest_chunks_is_read(url: str) -> None:
    body = b'{"email": "nobody@example.com", "password": "x"%b}' % (b" " * PIECE)
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    assert len(chunks) - len(body) > live_http.HEAD_BYTES_MAX, "more beside it than in any head"
    said = await exchange(url, LOGIN + chunks + b"0\r\n\r\n" + NEXT)
    assert [each.status for each in said] == [401, 200]
