"""A client that hangs up in the middle of what commits several times, or behind its last commit."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from domain import db, last_commit
from domain.auth import service as auth
from tests.app.keyed import new_key, newcomer, register, replayed, rows
from tests.app.test_hanging_up import hang_ups
from tests.app.waiting import until
from tests.conftest import Served
from tests.factories import Api


class Stop:
    """A place in the work where whoever comes first waits, until they are stopped."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def here(self) -> None:
        if not self.reached.is_set():
            self.reached.set()
            await self.opened.wait()


@pytest.fixture
async def stop() -> AsyncIterator[Stop]:
    place = Stop()
    yield place
    place.opened.set()


async def hang_up_at(stop: Stop, url: str, body: dict[str, str], key: str) -> None:
    """Register, and be gone when the work has come there; until it is stopped."""
    before = hang_ups()
    where, sent = urlsplit(url), json.dumps(body)
    _, writer = await asyncio.open_connection(where.hostname, where.port)
    writer.write(
        f"POST /api/auth/register HTTP/1.1\r\nHost: {where.netloc}\r\nIdempotency-Key: {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(sent)}\r\n\r\n{sent}".encode()
    )
    await asyncio.wait_for(stop.reached.wait(), 60)
    writer.transport.abort()

    async def it_is_stopped() -> bool:
        return hang_ups() == before + 1

    await until(it_is_stopped, within_s=10)


async def test_what_follows_the_first_commit_is_stopped(
    served: Served, api: Api, stop: Stop, monkeypatch: pytest.MonkeyPatch
) -> None:
    body, key = newcomer(), new_key()
    real = auth.open_account

    async def later(*args: Any, **more: Any) -> Any:
        assert [row["status"] for row in await rows(key)] == [None], "the claim is committed"
        await stop.here()
        return await real(*args, **more)

    monkeypatch.setattr(auth, "open_account", later)
    await hang_up_at(stop, served.url, body, key)
    assert await db.fetchval("SELECT count(*) FROM users WHERE email = $1", body["email"]) == 0
    assert await rows(key) == [], "the claim is let go"
    again = await register(api, body, key)
    assert (again.status_code, replayed(again)) == (201, False)


async def test_behind_the_last_commit_nothing_is_lost(
    served: Served, api: Api, stop: Stop, monkeypatch: pytest.MonkeyPatch
) -> None:
    body, key = newcomer(), new_key()
    real = last_commit.Held.commit

    async def committed(*args: Any) -> None:
        await real(*args)
        await stop.here()

    monkeypatch.setattr(last_commit.Held, "commit", committed)
    await hang_up_at(stop, served.url, body, key)
    again = await register(api, body, key)
    assert (again.status_code, replayed(again)) == (201, True)
    assert again.json()["data"]["user"]["email"] == body["email"]
    assert await db.fetchval("SELECT count(*) FROM users WHERE email = $1", body["email"]) == 1
