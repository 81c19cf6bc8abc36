"""The opening handshake (RFC 6455 section 4.2): who is let in, and what the others are told."""

import asyncio
from urllib.parse import urlsplit

import pytest

from tests.conftest import Served

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
    served: Served, headers: dict[str, str], *, method: str = "GET", version: str = "1.1", more: bytes = b""
) -> str:
    """The head of the answer."""
    where = urlsplit(served.url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    lines = [
        f"{method} /connection/websocket HTTP/{version}",
        *(f"{name}: {said}" for name, said in headers.items()),
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + more)
    try:
        async with asyncio.timeout(WITHIN_S):
            return (await reader.readuntil(b"\r\n\r\n")).decode().lower()
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
    assert "content-length: 0\r\n" in answer


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
