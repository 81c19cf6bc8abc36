"""Health is asked for all the time and by many: it costs little, waits for nobody, and tells the truth.

What it says when Postgres or Redis is down, slow or silent: tests/faults/scenarios/health.py.
"""

import asyncio
import logging

import httpx
import pytest

from app import health
from app.health import Check, Checks, Database
from domain import db
from tests.conftest import Served
from tests.factories import Api


def _fresh(served: Served, monkeypatch: pytest.MonkeyPatch) -> Checks:
    """Its checks, with nothing remembered from other tests."""
    checks: Checks = served.app.state.checks
    monkeypatch.setattr(checks, "_known_until", float("-inf"))
    return checks


async def _health(api: Api, path: str = "/health") -> tuple[int, dict[str, object]]:
    answer = await api.call("GET", path)
    return answer.status_code, answer.json()["data"]


async def test_a_hundred_who_ask_at_once_are_one_question() -> None:
    asked = 0
    checks = Checks()

    async def ask() -> Check:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.01)
        return Check(ok=True, detail="fine")

    checks.add("anything", ask)
    said = await asyncio.gather(*(checks.health() for _ in range(100)))
    assert asked == 1
    assert {each.status for each in said} == {"ok"}


async def test_who_hangs_up_takes_the_answer_from_nobody() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    checks = Checks()

    async def ask() -> Check:
        begun.set()
        await go_on.wait()
        return Check(ok=True, detail="fine")

    checks.add("anything", ask)
    first = asyncio.create_task(checks.health())
    await begun.wait()
    second = asyncio.create_task(checks.health())
    first.cancel()
    go_on.set()
    assert (await second).status == "ok"


async def test_one_check_that_does_not_end_keeps_nobody_waiting_and_only_what_is_fatal_is_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "CHECK_WITHIN_S", 0.05)
    checks = Checks()
    checks.add("silent", asyncio.Event().wait)  # type: ignore[arg-type]  # it says nothing
    said = await checks.health()
    assert said.status == "degraded"
    assert "not known" in said.checks["silent"].detail
    checks = Checks()
    checks.add("gone", lambda: Check(ok=False, fatal=True, detail="gone"))
    assert (await checks.health()).status == "down"


async def test_while_requests_hold_every_connection_it_is_ready_and_says_so(
    api: Api, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "SLOW_S", -1.0)
    pool = db.engine.pool
    assert pool is not None
    held = [await pool.acquire() for _ in range(pool.get_max_size())]
    try:
        _fresh(served, monkeypatch)
        status, said = await _health(api, "/health/ready")
    finally:
        for connection in held:
            await pool.release(connection)
    _fresh(served, monkeypatch)
    assert (status, said["status"]) == (200, "degraded")
    assert said["checks"]["pool"]["ok"] is False  # type: ignore[index]
    size = pool.get_max_size()
    assert said["checks"]["pool"]["detail"].startswith(f"{size} of {size} connections in use")  # type: ignore[index]


async def test_one_that_stops_is_not_ready_and_alive(
    api: Api, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served.app.state.checks, "stopping", True)
    for path in ("/health", "/health/ready"):
        status, said = await _health(api, path)
        assert (status, list(said["checks"])) == (503, ["serving"])  # type: ignore[call-overload]
    assert (await _health(api, "/health/live"))[0] == 200


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready", "/metrics"])
async def test_a_probe_that_is_answered_well_is_no_news_in_the_log(
    api: Api, served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    sam = await api.person("Sam")
    await db.execute("UPDATE users SET is_staff = true WHERE id = $1", sam.id)
    caplog.set_level(logging.DEBUG, "maycole.requests")
    well = await sam.get(path)
    monkeypatch.setattr(served.app.state.checks, "stopping", True)
    badly = await (api.call("GET", path) if path == "/metrics" else sam.get(path))
    said = [
        record for record in caplog.records if getattr(record, "fields", {}).get("route") == f"/api{path}"
    ]
    assert [record.levelno for record in said] == [
        logging.DEBUG if answer.is_success else logging.INFO for answer in (well, badly)
    ]
    assert (well.status_code, badly.is_success) == (200, path == "/health/live")


async def test_postgres_that_has_restarted_since_is_asked_over_a_new_connection(served: Served) -> None:
    database = Database(served.app.state.config.database_url)
    try:
        assert (await database.ask()).ok
        connection = database._connection
        assert connection is not None
        await db.execute("SELECT 1")
        connection.terminate()
        assert (await database.ask()).ok
        assert database._connection is not connection
    finally:
        database.close()


async def test_postgres_that_is_not_there_is_fatal() -> None:
    said = await Database("postgresql://nobody@127.0.0.1:1/nothing").ask()
    assert (said.ok, said.fatal) == (False, True)


async def test_only_what_is_asked_costs(api: Api, http: httpx.AsyncClient) -> None:
    """Live asks nobody."""
    said = await http.get("/api/health/live")
    assert said.json()["data"]["checks"] == {}
