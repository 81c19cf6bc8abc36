"""More requests than can be answered in time: some are refused at once, and say when to come back."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app import event_loop
from app.pipeline.load import GROW, LEAST, MOST, SENDING_MAX, WAIT_MAX_S, Load
from domain import connections, db, measures, memory
from domain.auth import credentials
from domain.coalesce import Coalesced
from domain.inventory import service as inventory
from tests.app.company import problem
from tests.app.reading_metrics import Scraper, staff_scraper
from tests.conftest import ORIGIN, Served
from tests.factories import Api, Person, item
from tests.raw import raw

BUSY = WAIT_MAX_S * 2


@pytest.fixture
async def ann(api: Api) -> Person:
    return await api.person()


@pytest.fixture
def full(served: Served, monkeypatch: pytest.MonkeyPatch) -> Load:
    """No place is free."""
    load: Load = served.app.state.load
    monkeypatch.setattr(load, "begin", lambda: _counted(load))
    return load


@pytest.fixture
async def scrape(api: Api) -> Scraper:
    return await staff_scraper(api)


def _counted(load: Load) -> bool:
    load.refused += 1
    return False


def test_while_the_first_in_line_waits_too_long_the_limit_shrinks_and_then_it_grows_back() -> None:
    load = Load()
    limits = []
    for _ in range(50):
        load.look(wait_s=BUSY, late_s=0)
        limits.append(load.limit)
    assert limits == sorted(limits, reverse=True)
    assert limits[-1] == LEAST, "a pool is never left idle"
    for _ in range((MOST - LEAST) // GROW + 1):
        load.look(wait_s=0, late_s=0)
    assert load.limit == MOST
    load.look(wait_s=0, late_s=BUSY)
    assert load.limit < MOST, "an event loop that is late counts as much"


async def test_how_late_the_event_loop_is_is_one_number_for_the_load_and_for_metrics(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load, counted = Load(), set()
    heard = asyncio.Event()

    def hear(late_s: float) -> None:
        load.hear(late_s)
        heard.set()

    monkeypatch.setattr(measures, "took", lambda name, seconds, *labels: counted.add((name, seconds)))
    watching = asyncio.create_task(event_loop.watch(hear))
    await asyncio.sleep(0)
    time.sleep(event_loop.LOOK_EVERY_S + WAIT_MAX_S + 0.05)  # noqa: ASYNC251 - that is what is to be seen
    await heard.wait()
    watching.cancel()
    assert load.late_s > WAIT_MAX_S
    assert load.limit < MOST
    assert ("event_loop_lag", load.late_s) in counted


def test_a_long_line_that_moves_is_no_reason_to_refuse() -> None:
    load = Load()
    assert all(load.begin() for _ in range(MOST))
    load.look(wait_s=WAIT_MAX_S / 2, late_s=WAIT_MAX_S / 2)
    assert load.limit == MOST
    assert not load.begin()
    assert load.refused == 1
    load.end()
    assert load.begin()


async def test_who_is_refused_is_told_so_by_a_problem_like_any_other(ann: Person, full: Load) -> None:
    refused = await ann.get("/inventory", headers={"Origin": ORIGIN})
    body = problem(refused, 503, "overloaded")
    assert refused.headers["Retry-After"] == str(body["retryAfter"])
    assert 1 <= body["retryAfter"] <= 3
    assert body["requestId"] == refused.headers["X-Request-Id"]
    assert body["instance"] == "/api/inventory"
    assert refused.headers["Access-Control-Allow-Origin"] == ORIGIN, "a page may read it"
    assert refused.headers["X-Content-Type-Options"] == "nosniff"


async def test_what_is_refused_is_in_the_log_and_in_the_metrics_by_its_code(
    scrape: Scraper, ann: Person, full: Load, caplog: pytest.LogCaptureFixture
) -> None:
    before = await scrape.value("problems_total", code="overloaded")
    with caplog.at_level(logging.INFO, "maycole.requests"):
        problem(await ann.get("/inventory"), 503, "overloaded")
    [line] = [line for line in caplog.records if line.name == "maycole.requests"]
    assert (line.fields["status"], line.fields["code"]) == (503, "overloaded")  # type: ignore[attr-defined]
    assert await scrape.value("problems_total", code="overloaded") == before + 1


async def test_health_and_open_sockets_go_on(ann: Person, api: Api, url: str, full: Load) -> None:
    before = full.refused
    async with raw(url, token=ann.token) as client:
        for path in ("/health", "/health/ready", "/health/live"):
            assert (await api.call("GET", path)).status_code == 200
        joined = await client.ask(subscribe={"channel": f"inventory:{ann.personal_team_id}"})
        assert "subscribe" in joined
        asked = await client.ask(rpc={"method": "GET /api/inventory"})
        assert asked["rpc"]["data"]["status"] == 503, "what is asked of REST is refused as REST refuses"
    assert full.refused == before + 1


async def test_a_body_that_arrives_when_there_is_no_place_any_more_is_refused(
    ann: Person, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    load: Load = served.app.state.load
    real, asked = load.begin, iter([True, False])
    monkeypatch.setattr(load, "begin", lambda: real() if next(asked) else False)
    problem(await ann.post("/inventory", {"name": "Tea", "quantity": 1}), 503, "overloaded")
    assert load.at_work == 0


@asynccontextmanager
async def _no_connection() -> AsyncIterator[None]:
    pool = db.engine.pool
    assert pool is not None
    held = [await pool.acquire() for _ in range(pool.get_max_size())]
    try:
        yield
    finally:
        for connection in held:
            await pool.release(connection)


async def test_a_line_before_the_pool_shuts_the_door_and_is_forgotten(
    ann: Person, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Condition by condition: it fills, the limit falls, some are refused; it empties, all are answered."""
    load: Load = served.app.state.load
    monkeypatch.setattr(load, "refused_at", load.refused_at)  # what comes after finds health as it was
    refused = load.refused
    async with _no_connection():
        waiting = [asyncio.create_task(ann.get("/inventory")) for _ in range(LEAST + 5)]
        async with asyncio.timeout(20):
            while load.limit > LEAST:
                await asyncio.sleep(0.02)
        problem(await ann.get("/inventory"), 503, "overloaded")
    answers = await asyncio.gather(*waiting)
    assert load.refused > refused
    assert {answer.status_code for answer in answers} <= {200, 503}
    async with asyncio.timeout(20):
        while load.limit < MOST:
            await asyncio.sleep(0.02)
    assert (await ann.get("/inventory")).status_code == 200
    assert load.at_work == 0


@pytest.mark.parametrize("line", ["their session", "an item"])
async def test_who_waits_for_what_somebody_else_has_asked_stands_in_a_line_too(
    ann: Person, served: Served, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    """As while Postgres is silent: nobody waits for a connection, and nobody is answered."""
    load: Load = served.app.state.load
    monkeypatch.setattr(load, "refused_at", load.refused_at)
    path = f"/inventory/{(await item(ann))['id']}"
    assert (await ann.get(path)).status_code == 200
    answers = asyncio.Event()

    def silent(reads: Coalesced[Any, Any]) -> None:
        real = reads._fetch

        async def fetch(keys: Collection[Any]) -> Any:
            await answers.wait()
            return await real(keys)

        monkeypatch.setattr(reads, "_fetch", fetch)

    silent(credentials._session if line == "their session" else inventory._item)
    memory.forget(ann.id)
    waiting = [asyncio.create_task(ann.get(path)) for _ in range(LEAST + 5)]
    async with asyncio.timeout(20):
        while load.limit > LEAST:
            await asyncio.sleep(0.02)
    problem(await ann.get(path), 503, "overloaded")
    monkeypatch.setattr(served.app.state.checks, "_known_until", float("-inf"))
    async with asyncio.timeout(20):
        while (said := (await served.app.state.checks.health()).checks["pool"]).ok:
            await asyncio.sleep(0.1)
    assert connections.waiting() == 0
    assert "0 wait for one" in said.detail
    answers.set()
    assert {answer.status_code for answer in await asyncio.gather(*waiting)} <= {200, 503}
    async with asyncio.timeout(20):
        while load.limit < MOST:
            await asyncio.sleep(0.02)
    assert (await ann.get(path)).status_code == 200


async def test_no_more_bodies_are_held_than_there_is_memory_for(
    served: Served, ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    load: Load = served.app.state.load
    with monkeypatch.context() as patched:
        patched.setattr(load, "sending", SENDING_MAX)
        refused = await ann.post("/inventory", {"name": "Tea", "quantity": 1})
        problem(refused, 503, "overloaded")
        assert (await ann.get("/inventory")).status_code == 200, "who sends nothing is served"
    assert (await ann.post("/inventory", {"name": "Tea", "quantity": 1})).status_code == 201
    assert load.sending == 0
