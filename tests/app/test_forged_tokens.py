"""Forged tokens: none of any class is accepted, over HTTP or a websocket, and none breaks anything."""

import contextlib
from typing import Any

import pytest
import websockets

from tests.app.signing_in import signed_in
from tests.conftest import SECRET
from tests.factories import Api
from tests.forged import forged
from tests.raw import Raw, raw

MANY = 200


async def test_no_forged_token_is_accepted_over_http(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    ann = await api.person()
    told = 0
    for wrong, token in forged(ann.token, SECRET):
        header = b"Bearer " + token.encode()
        answer = await api.http.get("/api/users/me", headers={b"Authorization": header})
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer"), wrong
        assert answer.json()["code"] in ("invalid_token", "token_expired"), wrong
        told += 1
    assert told > MANY
    assert await signed_in(api, ann.token), "what they were made from is good"
    assert not [line for line in caplog.records if line.levelname in ("ERROR", "CRITICAL")]


async def test_no_forged_token_is_accepted_over_a_websocket(
    api: Api, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    ann = await api.person()
    told = 0
    for wrong, token in forged(ann.token, SECRET):
        async with raw(url) as client:
            await client.send({"id": 1, "connect": {"token": token}})
            said = await _until_it_is_over(client)
        assert not any("connect" in message for message in said), wrong
        assert client.socket.close_code in (1009, 3500, 3501, 3003) or any(
            "error" in message for message in said
        ), wrong
        told += 1
    assert told > MANY
    async with raw(url, token=ann.token) as client:
        assert "history" in await client.ask(history={"channel": f"user:{ann.id}"}), "the good one is"
    assert not [line for line in caplog.records if line.levelname in ("ERROR", "CRITICAL")]


async def _until_it_is_over(client: Raw) -> list[dict[str, Any]]:
    """What is said to a connect, until an answer or the end."""
    said: list[dict[str, Any]] = []
    with contextlib.suppress(websockets.ConnectionClosed):
        while not any("id" in message for message in said):
            said += await client.frame()
    return said
