"""A request that takes too long is broken off, with its statement and transaction, and says so."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from urllib.parse import urlsplit

import asyncpg
import pytest

from app.config import Config
from app.pipeline import bounds
from channels.under_way import UnderWay
from domain import commits, db, deadline
from domain.audit_logs import export as exports
from domain.inventory import service as inventory
from tests.app.company import problem
from tests.conftest import Served
from tests.domain.conftest import take_all_connections
from tests.factories import Api, Person, item

SHORT_S = 0.3
LIST = "/api/inventory"
ADJUST = "/api/inventory/{item_id}/adjust"
MARK = "/* a slow one */"


@pytest.fixture
async def ann(api: Api) -> Person:
    return await api.person()


@pytest.fixture
async def outside(config: Config) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(config.database_url)
    yield connection
    await connection.close()


def _soon(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setitem(bounds.WITHIN_S, path, SHORT_S)


async def _slow() -> None:
    await db.execute(f"SELECT pg_sleep(20) {MARK}")


async def _running(outside: asyncpg.Connection) -> int:
    """How many of the slow statements Postgres is at, and of transactions that they were in."""
    found: int = await outside.fetchval(
        """SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid()
           AND query LIKE $1 AND (state = 'active' OR state LIKE 'idle in transaction%')""",
        f"%{MARK}%",
    )
    return found


async def _until_none_runs(outside: asyncpg.Connection) -> None:
    # Far less than what Postgres itself would let it take: it was cancelled.
    async with asyncio.timeout(4):
        while await _running(outside):
            await asyncio.sleep(0.05)


def _broken_off(answer: object) -> None:
    refused = problem(answer, 503, "deadline_exceeded")  # type: ignore[arg-type]
    assert refused["retryAfter"] == 1
    assert "not known" in refused["detail"], "it may have been at its COMMIT"


async def test_a_statement_that_takes_too_long_ends_on_the_server_as_well(
    ann: Person, outside: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    _soon(monkeypatch, LIST)
    monkeypatch.setattr(inventory, "page", lambda *args, **more: _slow())
    asking = asyncio.create_task(ann.get("/inventory"))
    answer = await asking
    _broken_off(answer)
    assert answer.headers["Retry-After"] == "1"
    assert answer.headers["X-Request-Id"]
    await _until_none_runs(outside)
    await take_all_connections()


async def test_a_transaction_that_takes_too_long_is_rolled_back_whole(
    ann: Person, outside: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    beans = await item(ann)
    real = inventory.record

    async def recorded(*args: object) -> None:
        await real(*args)  # type: ignore[arg-type]
        await _slow()

    monkeypatch.setattr(inventory, "record", recorded)
    _soon(monkeypatch, ADJUST)
    _broken_off(await ann.post(f"/inventory/{beans['id']}/adjust", {"delta": -1, "reason": "sold"}))
    await _until_none_runs(outside)
    monkeypatch.undo()
    assert (await ann.get(f"/inventory/{beans['id']}")).json()["data"] == beans
    # Nobody holds the row or the head of the channel.
    sold = await ann.post(f"/inventory/{beans['id']}/adjust", {"delta": -1, "reason": "sold"})
    assert sold.status_code == 200
    await take_all_connections()


async def test_a_request_that_waits_for_a_connection_gives_up_its_place(
    ann: Person, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    _soon(monkeypatch, LIST)
    pool = db.engine.pool
    assert pool is not None
    held = [await pool.acquire() for _ in range(pool.get_max_size())]
    try:
        answers = await asyncio.gather(*(ann.get("/inventory") for _ in range(5)))
        for answer in answers:
            _broken_off(answer)
        assert (await ann.api.call("GET", "/health/live")).status_code == 200, "it needs no database"
    finally:
        for connection in held:
            await pool.release(connection)
    assert served.app.state.load.at_work == 0
    await take_all_connections()
    assert (await ann.get("/inventory")).status_code == 200


async def test_an_answer_that_has_begun_is_not_broken_off(
    ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An export is written while it is sent, and has a bound of its own."""
    _soon(monkeypatch, "/api/audit-logs")
    await item(ann)
    real = exports.Export.parts
    ended: list[bytes] = []

    async def slowly(self: exports.Export) -> AsyncGenerator[bytes, None]:
        async for part in real(self):
            yield part
            await asyncio.sleep(SHORT_S)
            ended.append(part)

    monkeypatch.setattr(exports.Export, "parts", slowly)
    answer = await ann.get("/audit-logs?export=true&format=csv")
    assert answer.status_code == 200
    assert len(ended) > 1, "it took longer than its deadline"
    assert answer.content == b"".join(ended)


async def test_the_time_in_which_a_client_sends_its_body_is_not_counted(
    ann: Person, url: str, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    _soon(monkeypatch, LIST)
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    body = b'{"name":"Tea","quantity":1}'
    writer.write(
        b"POST /api/inventory HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Authorization: Bearer %b\r\nContent-Length: %d\r\n\r\n" % (ann.token.encode(), len(body))
    )
    for byte in range(len(body)):
        await asyncio.sleep(SHORT_S * 2 / len(body))
        if byte == len(body) // 2:
            assert served.app.state.load.at_work == 0, "whoever sends slowly takes nobody's place"
        writer.write(body[byte : byte + 1])
    assert b" 201 " in await reader.readuntil(b"\r\n")
    writer.close()


async def test_a_deadline_does_not_come_between_a_commit_and_its_news(
    ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, heard = db.Transaction.commit, []

    async def slow(self: db.Transaction) -> None:
        await asyncio.sleep(3 * SHORT_S)
        await real(self)

    monkeypatch.setattr(db.Transaction, "commit", slow)
    async with asyncio.timeout(SHORT_S) as timeout:
        with deadline.of(timeout):
            async with db.transaction() as unit:
                unit.after_commit.append(lambda: heard.append("announced"))
                await db.execute("UPDATE users SET name = 'Anne' WHERE id = $1", ann.id)
    assert heard == ["announced"]
    assert (await ann.get("/users/me")).json()["data"]["name"] == "Anne"


@pytest.mark.parametrize("at_its_commit", [True, False])
async def test_a_call_whose_client_goes_is_cancelled_unless_it_is_at_its_commit(at_its_commit: bool) -> None:
    done: list[str] = []

    async def work() -> None:
        if at_its_commit:
            commits.Committing(asyncio.current_task())
        await asyncio.sleep(SHORT_S)
        done.append("announced")

    waiting = asyncio.create_task(UnderWay(lambda code: None).finish(work()))
    for _ in range(3):
        await asyncio.sleep(SHORT_S / 10)
        waiting.cancel()
    await asyncio.wait({waiting})
    assert waiting.cancelled()
    assert done == (["announced"] if at_its_commit else [])
