"""JSON as nobody writes it: the parsing corpus; and bodies that are not of the length or coding they say.

Whatever comes is a 2xx or a 4xx problem; the connection of who sends it is the only one that may suffer.
"""

import ast
import asyncio
import gzip
import json
import zlib
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import pytest

from tests.authz.scene import Scene

_DEEP: Final = {
    "i_structure_500_nested_arrays": b"[" * 500 + b"]" * 500,
    "n_structure_100000_opening_arrays": b"[" * 100_000,
    "n_structure_open_array_object": b'[{"":' * 50_000 + b"\n",
}
# Codes that say that it is no JSON that is taken; Postgres cannot keep NUL, so that text is refused, too.
NO_JSON: Final = {"malformed_json", "empty_body", "json_too_deep", "nul_character"}
WITH_NUL: Final = {"y_object_escaped_null_in_key", "y_string_null_escape"}
GOOD: Final = b'{"name":"a","quantity":1}'
WITHIN_S: Final = 15


def corpus() -> dict[str, bytes]:
    """The texts by name."""
    lines = Path(__file__).with_name("json_corpus.txt").read_text().splitlines()
    named = (line.partition(" ") for line in lines if not line.startswith("#"))
    return {**{name: ast.literal_eval(text) for name, _, text in named}, **_DEEP}


async def send(scene: Scene, body: bytes, path: str = "/api/inventory", **headers: str) -> httpx.Response:
    given = {"Content-Type": "application/json", "Authorization": f"Bearer {scene.acme.owner.token}"}
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    return await scene.api.http.post(path, content=body, headers={**given, **more})


async def test_what_is_json_is_taken_for_json_and_what_is_not_is_refused(scene: Scene) -> None:
    texts = corpus()
    assert len(texts) == 318
    for name, text in texts.items():
        answer = await send(scene, text)
        assert answer.headers["content-type"] == "application/problem+json", (name, answer.text)
        status, code = answer.status_code, answer.json()["code"]
        if name.startswith("y_"):
            refused = "nul_character" if name in WITH_NUL else "invalid"
            assert code == refused, (name, answer.text)
        elif name.startswith("n_"):
            assert status == 400, (name, answer.text)
            assert code in NO_JSON, (name, answer.text)
        else:
            assert status in (400, 422), (name, answer.text)


async def test_every_json_that_is_taken_comes_back_as_it_was(scene: Scene) -> None:
    for name, text in corpus().items():
        if not name.startswith("y_") or name in WITH_NUL:
            continue
        body = b'{"name":"a","quantity":1,"attributes":{"it":' + text + b"}}"
        made = await send(scene, body)
        assert made.status_code == 201, (name, made.text)
        where = made.headers["Location"]
        bearer = {"Authorization": f"Bearer {scene.acme.owner.token}"}
        read = await scene.api.http.get(where, headers=bearer)
        kept = _numbers_as_clients_read_them(read.content)["data"]["attributes"]["it"]
        assert kept == _numbers_as_clients_read_them(text), (name, kept)


def _numbers_as_clients_read_them(text: bytes) -> Any:
    """Doubles, all of them: 123e65 may come back with all of its zeros."""
    return json.loads(text, parse_int=float)


@pytest.mark.parametrize(
    ("coding", "body"),
    [("gzip", gzip.compress(GOOD)), ("deflate", zlib.compress(GOOD)), ("br", b"\x0b\x02\x80{}\x03"),
     ("gzip", gzip.compress(b"[" * 50_000_000)), ("identity, gzip", GOOD), ("nonsense", GOOD)],
    # What gzip makes has the time in it, and testers beside each other have to call tests alike.
    ids=["gzip", "deflate", "br", "bomb", "two", "nonsense"],
)  # fmt: skip
async def test_a_compressed_body_is_not_unpacked(scene: Scene, coding: str, body: bytes) -> None:
    """So that a small one cannot become a large one."""
    answer = await send(scene, body, Content_Encoding=coding)
    assert answer.status_code == 415, answer.text
    assert answer.json()["code"] == "unsupported_media_type"
    assert answer.headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("second", ["gzip", "identity"])
async def test_a_coding_is_not_hidden_behind_one_that_is_none(scene: Scene, second: str) -> None:
    headers = [
        ("Content-Type", "application/json"),
        ("Authorization", f"Bearer {scene.acme.owner.token}"),
        ("Content-Encoding", "identity"),
        ("Content-Encoding", second),
    ]
    answer = await scene.api.http.post("/api/inventory", content=GOOD, headers=headers)
    assert answer.status_code == (201 if second == "identity" else 415), answer.text


async def test_a_body_may_come_in_pieces(scene: Scene) -> None:
    async def pieces() -> Any:
        for byte in GOOD:
            yield bytes([byte])

    answer = await scene.api.http.post(
        "/api/inventory",
        content=pieces(),
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {scene.acme.owner.token}"},
    )
    assert answer.status_code == 201, answer.text


# What is wrong with a message as such; lines after `POST …` and the token, and what follows the headers.
BROKEN: Final = {
    "a length that is none": (b"Content-Length: x\r\n", GOOD),
    "a negative length": (b"Content-Length: -1\r\n", GOOD),
    "a huge length": (b"Content-Length: 99999999999999999999999\r\n", GOOD),
    "two lengths": (b"Content-Length: 25\r\nContent-Length: 5\r\n", GOOD),
    "a list of lengths": (b"Content-Length: 25, 26\r\n", GOOD),
    "a length and chunks": (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    "a chunk that is none": (b"Transfer-Encoding: chunked\r\n", b"xyz\r\n"),
    "a negative chunk": (b"Transfer-Encoding: chunked\r\n", b"-5\r\nabcde\r\n0\r\n\r\n"),
    "a huge chunk": (b"Transfer-Encoding: chunked\r\n", b"fffffffffffffffffffff\r\n"),
    "chunked twice": (b"Transfer-Encoding: chunked, chunked\r\n", b"0\r\n\r\n"),
    "another coding": (b"Transfer-Encoding: gzip\r\nContent-Length: 25\r\n", GOOD),
    "a header without a colon": (b"Nonsense\r\nContent-Length: 25\r\n", GOOD),
    "a header with NUL": (b"X-A: a\0b\r\nContent-Length: 25\r\n", GOOD),
    "a space before the colon": (b"Content-Length : 25\r\n", GOOD),
    "a folded header": (b"X-A: a\r\n b\r\nContent-Length: 25\r\n", GOOD),
    "a header of a mebibyte": (b"X-A: " + b"a" * 1024 * 1024 + b"\r\nContent-Length: 25\r\n", GOOD),
    "ten thousand headers": (b"X-A: a\r\n" * 10_000 + b"Content-Length: 25\r\n", GOOD),
    "more than was said": (b"Content-Length: 5\r\n", GOOD),
    "a size far beyond": (b"Content-Length: 1099511627776\r\n", GOOD),
}


@pytest.mark.parametrize("what", BROKEN)
async def test_a_message_that_is_broken_is_refused_and_nobody_else_notices(
    scene: Scene, url: str, what: str
) -> None:
    lines, body = BROKEN[what]
    bearer = f"Authorization: Bearer {scene.acme.owner.token}\r\nContent-Type: application/json\r\n".encode()
    head = b"POST /api/inventory HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + bearer
    said = await exchange(url, head + lines + b"\r\n" + body)
    statuses = [line.split(b" ")[1] for line in said.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
    assert statuses, "it is answered"
    assert all(status[:1] in (b"2", b"4") for status in statuses), said[:500]
    assert (await send(scene, GOOD)).status_code == 201, "others are served on"


async def exchange(url: str, data: bytes) -> bytes:
    """What is answered until there is nothing more, or the server has hung up."""
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    said = b""
    try:
        writer.write(data)
        async with asyncio.timeout(WITHIN_S):
            while part := await reader.read(65536):
                said += part
    except ConnectionError:
        pass  # hung up while we were still sending: that is an answer, too
    finally:
        writer.close()
    return said
