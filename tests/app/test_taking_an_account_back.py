"""Who is put out of an account stays out, whatever they had under way when it happened."""

import asyncio
import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from domain import db
from tests.app.signing_in import login
from tests.conftest import Served
from tests.factories import PASSWORD, Api

NEW = "a password of the thief's own"
WITHIN_S = 15
UNDER_WAY: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/auth/password/change", {"currentPassword": PASSWORD, "password": NEW}),
    ("POST", "/auth/api-keys", {"name": "Robot", "scopes": []}),
    ("POST", "/users/me/email", {"email": "thief@example.org", "password": PASSWORD}),
]


@pytest.mark.parametrize(("method", "path", "body"), UNDER_WAY)
async def test_a_request_that_came_before_and_ends_after_adds_no_way_in(
    api: Api, served: Served, method: str, path: str, body: dict[str, Any]
) -> None:
    ann = await api.person()
    where, text = urlsplit(served.url), json.dumps(body)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    writer.write(
        f"{method} /api{path} HTTP/1.1\r\nHost: {where.netloc}\r\nAuthorization: Bearer {ann.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n{text[:-1]}".encode()
    )
    await writer.drain()
    elsewhere = (await login(api, ann.email)).json()["data"]["accessToken"]
    assert (await api.call("POST", "/auth/logout?scope=others", token=elsewhere)).status_code == 204
    writer.write(text[-1:].encode())
    async with asyncio.timeout(WITHIN_S):
        head = await reader.readuntil(b"\r\n\r\n")
        answer = await reader.read(65536)
    writer.close()
    assert b" 401 " in head.splitlines()[0]
    assert json.loads(answer)["code"] == "session_over"
    assert (await login(api, ann.email)).status_code == 200, "the password is what it was"
    assert not await db.fetchval("SELECT count(*) FROM api_keys WHERE user_id = $1", ann.id)
