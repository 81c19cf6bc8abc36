"""Each metric is moved by what it is about, and by as much; the last test says if one was left out.

Those of vendors are in tests/app/outgoing/test_metrics_of_vendors.py.
"""

import asyncio
import gc
import logging
import math
import os
import time
from pathlib import Path

import msgspec
import pytest
import websockets

from app import event_loop
from app.log_writer import Writer
from app.logs import Handler
from app.metrics import gauges, table
from channels.live import Live
from domain import db, jobs, streams
from domain.teams.denials import denials
from tests.app.guessing import elsewhere
from tests.app.reading_metrics import LOOKED_AT, Scraper, not_of_vendors, staff_scraper, until
from tests.app.waiting import hang_up_amid_a_body
from tests.factories import Api, item
from tests.listener import Listeners
from tests.raw import raw


class Nothing(msgspec.Struct, frozen=True):
    pass


GOOD = jobs.Job("test.measured", Nothing)
BAD = jobs.Job("test.measured_bad", Nothing, tries=2, first_wait_s=0.01)


@GOOD.handler
async def do(given: Nothing) -> None:
    """Nothing."""


@BAD.handler
async def fail(given: Nothing) -> None:
    raise LookupError("never")


@pytest.fixture(scope="module")
async def scrape(api: Api) -> Scraper:
    return await staff_scraper(api)


async def test_requests_are_counted_by_their_template_and_timed(api: Api, scrape: Scraper) -> None:
    ann = await api.person()
    beans = await item(ann)
    asked = {"method": "GET", "route": "/api/inventory/{item_id}", "status": "2xx"}
    before, took = await scrape.value("http_request_seconds_count", **asked), await scrape.read()

    for _ in range(3):
        assert (await ann.get(f"/inventory/{beans['id']}")).is_success

    assert await scrape.value("http_request_seconds_count", **asked) == before + 3
    after = await scrape.read()
    assert after.of("http_request_seconds_sum", **asked) > took.of("http_request_seconds_sum", **asked)
    assert after.of("http_request_seconds_bucket", le="+Inf", **asked) == before + 3


async def test_no_address_that_somebody_made_up_is_a_label(api: Api, scrape: Scraper) -> None:
    before = await scrape.value("http_request_seconds_count", route="unmatched", status="4xx")
    for nth in range(5):
        await api.call("GET", f"/no-such-{nth}")
    await api.http.request("BREW", "/api/health")
    read = await scrape.read()
    assert read.of("http_request_seconds_count", route="unmatched", status="4xx") == before + 5
    routes = {sample.labels.get("route", "") for sample in read.samples}
    assert not [route for route in routes if "no-such" in route]


async def test_problems_are_counted_by_their_code(api: Api, scrape: Scraper) -> None:
    ann = await api.person()
    before = await scrape.value("problems_total", code="not_found")
    await ann.get("/inventory/item_00000000000000000000000000")
    await ann.get("/inventory/item_00000000000000000000000001")
    assert await scrape.value("problems_total", code="not_found") == before + 2


async def test_what_credentials_were_wrong_is_counted_also_on_a_websocket(
    api: Api, url: str, scrape: Scraper
) -> None:
    ann = await api.person()
    kinds = ("no_token", "invalid_token", "wrong_credentials")
    before = [await scrape.value("auth_failures_total", kind=kind) for kind in kinds]

    await api.call("GET", "/users/me")
    await api.call("GET", "/users/me", token="made.up.token")
    await api.call("POST", "/auth/login", json={"email": ann.email, "password": "not this one"})
    async with raw(url) as client:
        await client.send({"id": 1, "connect": {"token": "another.made.up"}})
        with pytest.raises(websockets.ConnectionClosed):
            await client.frame()

    after = [await scrape.value("auth_failures_total", kind=kind) for kind in kinds]
    assert [now - then for now, then in zip(after, before, strict=True)] == [1, 2, 1]


async def test_what_a_limit_refuses_is_counted(url: str, scrape: Scraper) -> None:
    before = await scrape.value("rate_limited_total", policy="too_many_attempts")
    async with elsewhere(url) as api:
        ann, refused = await api.person(), 0
        for _ in range(12):
            body = {"email": ann.email, "password": "not this one either"}
            refused += (await api.call("POST", "/auth/login", json=body)).status_code == 429
    assert refused
    assert await scrape.value("rate_limited_total", policy="too_many_attempts") == before + refused


async def test_who_hangs_up_before_the_answer_is_counted(url: str, scrape: Scraper) -> None:
    before = await scrape.value("hang_ups_total", via="http")
    await hang_up_amid_a_body(url)

    async def counted() -> bool:
        return await scrape.value("hang_ups_total", via="http") == before + 1

    await until(counted)


async def test_audit_rows_are_counted_by_action_and_outcome(api: Api, scrape: Scraper) -> None:
    ann, bob = await api.person("Ann"), await api.person("Bob")
    team = await api.team(ann, viewer=bob)
    made = {"action": "inventory.created", "outcome": "success"}
    denied = {"action": "teams.access_denied", "outcome": "denied"}
    await denials.write()
    before = [await scrape.value("audit_rows_total", **row) for row in (made, denied)]

    await item(ann, team)
    refused = await bob.post("/inventory", {"name": "Tea", "quantity": 1, "teamId": team})
    assert refused.status_code == 403
    await denials.write()

    after = [await scrape.value("audit_rows_total", **row) for row in (made, denied)]
    assert [now - then for now, then in zip(after, before, strict=True)] == [1, 1]


async def test_statements_and_the_wait_for_a_connection_are_timed(scrape: Scraper) -> None:
    before = await scrape.value("db_statement_seconds_count", kind="LOCK")
    waited = await scrape.value("db_pool_wait_seconds_count")
    async with db.transaction():
        await db.execute("LOCK TABLE inventory IN ACCESS SHARE MODE")
        gauges.GAUGE["db_connections"].labels("used").set(-1)
        assert await scrape.value("db_connections", state="used") >= 1
    assert await scrape.value("db_statement_seconds_count", kind="LOCK") == before + 1
    assert await scrape.value("db_pool_wait_seconds_count") > waited


async def test_open_connections_their_users_and_channels_are_counted(
    api: Api, url: str, live: Live, scrape: Scraper, listeners: Listeners
) -> None:
    ann = await api.person()
    names = ("connections", "connected_users")
    before = [await scrape.value(name) for name in names]
    for _ in range(2):
        screen = await listeners(url, ann.token)
    after = [await scrape.value(name) for name in names]
    assert [now - then for now, then in zip(after, before, strict=True)] == [2, 1]
    await screen.follow(f"inventory:{ann.personal_team_id}")
    assert await scrape.value("channels") == len(live.relay.hub.feeds) > 0
    await screen.client.disconnect()

    async def gone() -> bool:
        return await scrape.value("connections") == before[0] + 1

    await until(gone)


async def test_how_old_news_is_when_it_arrives_is_sampled(
    api: Api, url: str, scrape: Scraper, listeners: Listeners
) -> None:
    ann = await api.person()
    screen = await listeners(url, ann.token)
    await screen.follow(f"inventory:{ann.personal_team_id}")
    await asyncio.sleep(0.1)  # the one before is no reason to leave this one out
    before = await scrape.value("delivery_lag_seconds_count")
    await item(ann)
    await screen.until(lambda: bool(screen.seen[f"inventory:{ann.personal_team_id}"]))
    read = await scrape.read()
    assert read.of("delivery_lag_seconds_count") > before
    assert read.of("delivery_lag_seconds_bucket", le="10.0") == read.of("delivery_lag_seconds_count")


async def test_what_nobody_announced_is_a_find_of_the_sweeper(
    api: Api, url: str, live: Live, scrape: Scraper, listeners: Listeners, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await api.person()
    channel = f"inventory:{ann.personal_team_id}"
    screen = await listeners(url, ann.token)
    await screen.follow(channel)
    before = await scrape.value("sweeper_finds_total")
    spoken = [told for told in streams.listeners if told != live.relay.announce]
    assert len(spoken) < len(streams.listeners)

    async def one_is_found() -> bool:
        # This process also looks by itself, every RECHECK_S: what it comes upon first is no find.
        known = len(screen.seen[channel])
        with monkeypatch.context() as patch:
            patch.setattr(streams, "listeners", spoken)
            await item(ann)
        await screen.until(lambda: len(screen.seen[channel]) > known)
        return await scrape.value("sweeper_finds_total") > before

    await until(one_is_found)


async def test_what_redis_does_not_take_is_counted_and_said(
    live: Live, scrape: Scraper, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await scrape.value("announcements_dropped_total")
    with monkeypatch.context() as patch:
        patch.setattr(live.relay.bus._outbox, "full", lambda: True)
        for _ in range(4):
            live.relay.bus.tell("nowhere", b"{}")
    assert await scrape.value("announcements_dropped_total") == before + 4
    assert await scrape.value("redis_up", direction="publish") == 1
    with monkeypatch.context() as patch:
        patch.setattr(live.relay.bus, "speaking", False)
        assert await scrape.value("redis_up", direction="publish") == 0
    assert await scrape.value("redis_up", direction="subscribe") == 1


async def test_jobs_are_counted_by_what_became_of_them(scrape: Scraper) -> None:
    kinds = [
        {"job": GOOD.name, "outcome": "done"},
        {"job": BAD.name, "outcome": "failed"},
        {"job": BAD.name, "outcome": "parked"},
    ]
    before = [await scrape.value("jobs_total", **kind) for kind in kinds]
    parked = await scrape.value("jobs_kept", state="parked")
    async with db.transaction():
        await jobs.enqueue(GOOD, Nothing())
        await jobs.enqueue(BAD, Nothing())

    async def all_over() -> bool:
        after = [await scrape.value("jobs_total", **kind) for kind in kinds]
        return [now - then for now, then in zip(after, before, strict=True)] == [1, 1, 1]

    await until(all_over)
    assert await scrape.value("jobs_kept", state="parked") == parked + 1
    await db.execute("DELETE FROM pgqueuer WHERE entrypoint = $1", BAD.name)
    assert await scrape.value("jobs_kept", state="parked") == parked


async def test_a_job_that_nobody_does_grows_old(scrape: Scraper) -> None:
    # Of a kind that no worker of this version knows: it stays where it is.
    job_id = await db.fetchval(
        """INSERT INTO pgqueuer (priority, entrypoint, status, execute_after, created, updated)
           VALUES (0, 'test.of_another_version', 'queued', now() - interval '1 hour',
                   now() - interval '1 hour', now()) RETURNING id"""
    )
    assert await scrape.value("jobs_oldest_age_seconds") >= 3600
    await db.execute("DELETE FROM pgqueuer WHERE id = $1", job_id)
    assert await scrape.value("jobs_oldest_age_seconds") < 3600


async def test_who_holds_the_event_loop_is_seen(scrape: Scraper) -> None:
    async def late() -> float:
        read = await scrape.read()
        return read.of("event_loop_lag_seconds_bucket", le="+Inf") - read.of(
            "event_loop_lag_seconds_bucket", le="0.25"
        )

    before = await late()
    time.sleep(event_loop.LOOK_EVERY_S + 0.5)  # noqa: ASYNC251 - that is what is to be seen

    async def seen() -> bool:
        return await late() > before

    await until(seen)
    assert await scrape.value("event_loop_lag_seconds_count") > 0


async def test_who_is_active_is_counted_over_rest_and_live(
    api: Api, url: str, live: Live, scrape: Scraper, listeners: Listeners, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob = await api.person("Ann"), await api.person("Bob")
    at = time.time() + 2 * 365 * 86400  # when nobody else was seen
    monkeypatch.setattr(live.relay.activity, "_clock", lambda: at)
    before = await live.relay.activity.count()
    await ann.get("/users/me")
    await ann.get("/users/me")
    await api.call("GET", "/users/me", token="made.up.token")
    assert await live.relay.activity.count() == before + 1
    at += 3600
    screen = await listeners(url, bob.token)
    assert await live.relay.activity.count() == 1
    await screen.client.disconnect()
    assert await scrape.value("active_users") >= 1

    async def lost(*given: object) -> None:
        raise ConnectionError("away")

    with monkeypatch.context() as patch:
        patch.setattr(live.relay.activity, "_add", lost)
        assert math.isnan(await scrape.value("active_users")), "unknown is not none"


async def test_log_lines_are_counted_and_those_that_are_dropped(
    scrape: Scraper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    descriptor = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    handler = Handler(Writer(descriptor))
    handler.take("json")
    before = await scrape.value("log_lines_total", level="warn")
    record = logging.LogRecord("maycole.test", logging.WARNING, "", 0, "careful", None, None)
    monkeypatch.setattr(gauges, "_handler", lambda: handler)
    for _ in range(3):
        handler.handle(record)
    assert handler.writer.flush()
    assert await scrape.value("log_lines_total", level="warn") == before + 3
    assert len((tmp_path / "log").read_text().splitlines()) == 3

    dropped = await scrape.value("log_lines_dropped_total")
    monkeypatch.setattr("app.log_writer.LINES_MAX", 0)
    handler.handle(record)
    assert await scrape.value("log_lines_dropped_total") == dropped + 1
    os.close(descriptor)


async def test_the_process_itself_is_measured(scrape: Scraper) -> None:
    before = await scrape.read()
    gc.collect()
    sum(range(3_000_000))
    after = await scrape.read()
    assert after.of("gc_collections_total", generation="2") > before.of(
        "gc_collections_total", generation="2"
    )
    for name in ("gc_pause_seconds_total", "process_cpu_seconds_total"):
        assert after.of(name) > before.of(name)
    assert after.of("process_resident_bytes") > 1e7
    assert after.of("processes") == 1
    assert after.of("info") == 1
    for name in ("gc_collections_total", "gc_pause_seconds_total", "process_cpu_seconds_total"):
        assert await scrape.value(name) > 0
    for name in ("process_resident_bytes", "processes", "info"):
        assert await scrape.value(name) > 0


def test_every_metric_was_moved_by_a_test() -> None:
    assert not_of_vendors(table.names()) == not_of_vendors(LOOKED_AT)
