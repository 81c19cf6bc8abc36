"""A client that hangs up: its work is stopped and undone, unless that is too late; and nobody is alarmed."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from app.config import Config
from app.metrics.table import COUNTERS
from domain import db, streams
from tests.app.waiting import WAITING, connected, hang_up_amid_a_body, held, until
from tests.conftest import Served
from tests.factories import Api, Person, item

AT_ONCE = 8


class Asked:
    """One request over a socket of its own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def hang_up(self) -> None:
        self.writer.transport.abort()


async def ask(url: str, person: Person, path: str, body: Any) -> Asked:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    sent = json.dumps(body)
    writer.write(
        f"POST /api{path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {person.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(sent)}\r\n\r\n{sent}".encode()
    )
    return Asked(reader, writer)


@pytest.fixture
async def outside(config: Config) -> AsyncIterator[asyncpg.Connection]:
    async with connected(config) as connection:
        yield connection


def hang_ups() -> float:
    """How many requests were stopped because their client was gone."""
    return float(COUNTERS["hang_ups"].labels("http")._value.get())


async def test_what_a_client_does_not_wait_for_is_stopped_and_undone(
    served: Served, config: Config, api: Api, outside: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    ann = await api.person()
    thing = await item(ann)
    path, body = f"/inventory/{thing['id']}/adjust", {"delta": -1, "reason": "sold"}

    async def all_wait() -> bool:
        return bool(await outside.fetchval(WAITING) == AT_ONCE)

    async def none_waits() -> bool:
        return bool(await outside.fetchval(WAITING) == 0)

    async def all_are_counted() -> bool:
        return hang_ups() - before == AT_ONCE

    with caplog.at_level(logging.INFO):
        async with held(config, thing["id"]):
            for _ in range(10):
                caplog.clear()
                before = hang_ups()
                asked = [await ask(served.url, ann, path, body) for _ in range(AT_ONCE)]
                try:
                    await until(all_wait, within_s=2)
                except TimeoutError:
                    # A slow machine: the time-out of the lock may have been quicker. Once more.
                    for one in asked:
                        one.hang_up()
                    await until(none_waits)
                else:
                    break
            for one in asked:
                one.hang_up()
            await until(none_waits)
            await until(all_are_counted)
    said = [record.__dict__["fields"] for record in caplog.records if record.name == "maycole.requests"]
    assert [line["status"] for line in said] == [499] * AT_ONCE
    assert not [record for record in caplog.records if thing["id"] in record.getMessage()]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]

    # Every connection is back in the pool, and none of them in a transaction.
    answers = await asyncio.gather(*(ann.get(f"/inventory/{thing['id']}") for _ in range(20)))
    assert {answer.json()["data"]["quantity"] for answer in answers} == {thing["quantity"]}
    assert db.engine.pool is not None
    assert db.engine.pool.get_idle_size() == db.engine.pool.get_size()
    idle = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%' AND pid <> $1"
    assert await outside.fetchval(idle, outside.get_server_pid()) == 0
    moves = await outside.fetchval("SELECT count(*) FROM stock_movements WHERE item_id = $1", thing["id"])
    assert (await ann.post(path, body)).status_code == 200
    assert moves + 1 == await outside.fetchval(
        "SELECT count(*) FROM stock_movements WHERE item_id = $1", thing["id"]
    )


async def test_what_is_at_its_commit_is_done_and_said_whoever_is_gone(
    served: Served, api: Api, outside: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await api.person()
    thing = await item(ann)
    at_commit, go_on, told = asyncio.Event(), asyncio.Event(), asyncio.Event()
    commit = db.Transaction.commit

    async def slowly(transaction: db.Transaction) -> None:
        at_commit.set()
        await go_on.wait()
        await commit(transaction)

    asked = await ask(served.url, ann, f"/inventory/{thing['id']}/adjust", {"delta": -1, "reason": "sold"})
    with monkeypatch.context() as patched:
        patched.setattr(db.Transaction, "commit", slowly)
        await at_commit.wait()
        before, open_before = hang_ups(), len(served.server.server_state.connections)
        asked.hang_up()

        async def the_server_knows() -> bool:
            return len(served.server.server_state.connections) < open_before

        await until(the_server_knows)
        streams.listeners.append(listener := lambda entries: told.set())
        try:
            go_on.set()
            await asyncio.wait_for(told.wait(), 30)
        finally:
            streams.listeners.remove(listener)
    assert (await ann.get(f"/inventory/{thing['id']}")).json()["data"]["quantity"] == thing["quantity"] - 1
    assert hang_ups() == before


async def test_whoever_hangs_up_amid_a_body_is_no_failure(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    before = hang_ups()
    with caplog.at_level(logging.INFO):
        await hang_up_amid_a_body(served.url)

        async def it_is_counted() -> bool:
            return hang_ups() == before + 1

        await until(it_is_counted)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
