"""A live connection that closes: its rpc is stopped and undone, unless that is too late, as a request is."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import asyncpg
import pytest

from app.config import Config
from app.metrics.table import COUNTERS
from channels.live import Live
from domain import behalf, db, streams
from domain.streams import Entry
from tests.app.waiting import WAITING, connected, held, until
from tests.conftest import Served
from tests.factories import Api, Person, item
from tests.raw import raw
from tests.streaming import streaming

Say = Callable[[dict[str, Any]], Awaitable[Any]]


def hang_ups() -> float:
    return float(COUNTERS["hang_ups"].labels("rpc")._value.get())


@pytest.fixture
async def outside(config: Config) -> AsyncIterator[asyncpg.Connection]:
    async with connected(config) as connection:
        yield connection


@contextlib.asynccontextmanager
async def line(url: str, person: Person, transport: str) -> AsyncIterator[Say]:
    """Says something on a connection of theirs, which is cut when the block ends; answers are not read."""
    if transport == "websocket":
        async with raw(url, token=person.token) as client:
            yield client.send
            client.socket.transport.abort()
    else:
        async with streaming(url, person.token, transport=transport) as stream:
            yield stream.post


def sold(thing: dict[str, Any]) -> dict[str, Any]:
    """An rpc: one of it is sold, which is one sale however often it is sent."""
    headers = {"idempotency-key": f"of {thing['id']}", "x-request-id": thing["id"]}
    data = {"body": {"delta": -1, "reason": "sold"}, "headers": headers}
    return {"id": 2, "rpc": {"method": f"POST /api/inventory/{thing['id']}/adjust", "data": data}}


@pytest.mark.parametrize(
    ("transport", "how"), [("websocket", "cut"), ("websocket", "logout"), ("http_stream", "cut")]
)
async def test_an_rpc_whose_connection_closes_is_stopped_and_undone(
    served: Served, config: Config, api: Api, outside: asyncpg.Connection, transport: str, how: str
) -> None:
    load = served.app.state.load
    ann = await api.person("Ann")

    async def one_waits() -> bool:
        return bool(await outside.fetchval(WAITING) == 1)

    async def none_waits() -> bool:
        return bool(await outside.fetchval(WAITING) == 0)

    async def it_is_stopped() -> bool:
        return load.at_work == 0 and hang_ups() == before + 1

    async def all_are_idle() -> bool:
        pool = db.engine.pool
        return pool is not None and pool.get_idle_size() == pool.get_size()

    for _ in range(10):
        bob, before = await api.person("Bob"), hang_ups()
        thing = await item(ann, await api.team(ann, admin=bob))
        try:
            async with held(config, thing["id"]):
                async with line(served.url, bob, transport) as say:
                    await say(sold(thing))
                    await say({"id": 3, "ping": {}})  # which has to wait, and hides nothing
                    await until(one_waits, within_s=2)
                    if how == "logout":
                        assert (await bob.post("/auth/logout")).is_success
                        await until(none_waits)
                await until(none_waits)
                await until(it_is_stopped, within_s=5)
        except TimeoutError:
            continue  # a slow machine: the time-out of the lock may have been quicker
        break
    assert await it_is_stopped()

    # Nothing of it stayed: not the change, not its connection, not the key, which is free for another try.
    await until(all_are_idle)
    seen = await ann.get(f"/inventory/{thing['id']}")
    assert seen.json()["data"]["quantity"] == thing["quantity"]
    if how == "cut":
        async with raw(served.url, token=bob.token) as client:
            await client.send(sold(thing))
            answer = (await client.reply(2))["rpc"]["data"]
        assert (answer["status"], answer["body"]["data"]["quantity"]) == (200, thing["quantity"] - 1)
        assert "idempotent-replayed" not in answer["headers"]


@pytest.mark.parametrize("transport", ["websocket", "http_stream"])
async def test_an_rpc_at_its_commit_is_done_and_said_whoever_is_gone(
    served: Served, live: Live, api: Api, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    ann = await api.person()
    thing = await item(ann)
    at_commit, go_on, told = asyncio.Event(), asyncio.Event(), asyncio.Event()
    commit, before = db.Transaction.commit, hang_ups()

    async def slowly(transaction: db.Transaction) -> None:
        if behalf.request_id() == thing["id"]:  # others commit meanwhile
            at_commit.set()
            await go_on.wait()
        await commit(transaction)

    def hear(entries: Sequence[Entry]) -> None:
        if any(entry.channel == f"inventory:{ann.personal_team_id}" for entry in entries):
            told.set()

    async def the_server_knows() -> bool:
        return all(known.gone for known in live.connections if known.standing.claims.sub == ann.id)

    with monkeypatch.context() as patched:
        async with line(served.url, ann, transport) as say:
            patched.setattr(db.Transaction, "commit", slowly)
            await say(sold(thing))
            await at_commit.wait()
        await until(the_server_knows)
        streams.listeners.append(hear)
        try:
            go_on.set()
            await asyncio.wait_for(told.wait(), 30)
        finally:
            streams.listeners.remove(hear)
    assert (await ann.get(f"/inventory/{thing['id']}")).json()["data"]["quantity"] == thing["quantity"] - 1
    assert hang_ups() == before
