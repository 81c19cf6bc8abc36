"""Exports of the audit trail: what is in them, what they hold, and what a client that goes away leaves."""

import asyncio
import csv
import io
import json
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from channels.live_http import LiveHttp
from domain import db
from domain.audit_logs import export as exports
from tests.app.company import problem
from tests.domain.conftest import take_all_connections
from tests.factories import Api, Person, item
from tests.nodes import until
from tests.raw import raw

ROWS = 80_000  # more than sockets hold for a client that takes nothing
MEASURED = ROWS // 2  # of them: memory that is traced is slow
# Some 3 MiB, and what sockets hold meanwhile for a client that has no time.
HELD_BYTES_MAX = 10 * 1024 * 1024


async def rows_of(team: str, action: str) -> list[dict[str, Any]]:
    found = await db.fetch(
        "SELECT outcome, metadata FROM audit_logs WHERE team_id = $1 AND action = $2 ORDER BY seq",
        team,
        action,
    )
    return [dict(row) for row in found]


def path(team: str, form: str, more: str = "") -> str:
    return f"/audit-logs?teamId={team}&export=true&format={form}{more}"


@pytest.fixture(scope="module")
async def ann(api: Api) -> Person:
    return await api.person()


@pytest.fixture(scope="module")
async def long_trail(ann: Person, api: Api) -> str:
    """A team with ROWS rows more than it came with; MEASURED of them are `test.measured`."""
    team = await api.team(ann)
    top = await db.fetchval("SELECT max(seq) FROM audit_logs WHERE team_id = $1", team)
    for start in range(0, ROWS, ROWS // 20):
        await db.execute(
            """INSERT INTO audit_logs (id, seq, team_id, action, resource_type, resource, "timestamp",
                                       metadata, changes, outcome)
               SELECT 'aud_' || $1 || n, $2 + n, $1,
                      CASE n % 2 WHEN 0 THEN 'test.measured' ELSE 'test.done' END,
                      'thing', 'x', now(), '{"note": "plain"}', '{}', 'success'
               FROM generate_series($3::bigint + 1, $4::bigint) AS n""",
            team,
            top,
            start,
            start + ROWS // 20,
        )
    # What is recorded from now on follows on these.
    await db.execute("UPDATE stream_heads SET top = $2 WHERE channel = $1", f"audit:{team}", top + ROWS)
    return team


async def test_an_export_has_what_the_filter_lets_through_the_oldest_first_in_each_form(api: Api) -> None:
    ann = await api.person()
    team = await api.team(ann)
    for name in ("Beans", '=1+2,"and\nmore"'):
        await item(ann, team, name=name)
    listed = (await ann.get(f"/audit-logs?teamId={team}&action=inventory.created")).json()["data"][::-1]
    assert len(listed) == 2

    answer = await ann.get(path(team, "json", "&action=inventory.created"))
    assert answer.json() == {"success": True, "data": listed}
    assert answer.headers["content-type"] == "application/json"
    answer = await ann.get(path(team, "ndjson", "&action=inventory.created"))
    assert [json.loads(line) for line in answer.text.splitlines()] == listed
    assert answer.headers["content-type"] == "application/x-ndjson"
    answer = await ann.get(path(team, "csv", "&action=inventory.created"))
    lines = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert [int(line["seq"]) for line in lines] == [row["seq"] for row in listed]
    assert [json.loads(line["changes"]) for line in lines] == [row["changes"] for row in listed]
    assert set(lines[0]) == set(listed[0])
    assert [line["timestamp"] for line in lines] == [row["timestamp"] for row in listed]
    assert answer.headers["content-type"].startswith("text/csv")
    disposition = answer.headers["content-disposition"]
    assert disposition.startswith(f'attachment; filename="audit-{team}-')
    assert disposition.endswith('Z.csv"')
    for form, nothing in (("json", '{"success":true,"data":[\n\n]}\n'), ("ndjson", "\n")):
        assert (await ann.get(path(team, form, "&action=none"))).text == nothing


async def test_an_export_is_in_the_trail_when_it_begins_and_when_it_ends(api: Api) -> None:
    ann = await api.person()
    team = await api.team(ann)
    await ann.get(path(team, "ndjson", "&action=teams.created"))
    [started] = await rows_of(team, "audit_logs.export_started")
    [ended] = await rows_of(team, "audit_logs.exported")
    told = {"filter": {"action": "teams.created"}, "format": "ndjson", "file": started["metadata"]["file"]}
    assert started["metadata"] == told
    assert ended == {"outcome": "success", "metadata": {**told, "count": 1}}


async def test_what_an_export_holds_does_not_grow_with_the_trail(
    http: httpx.AsyncClient, ann: Person, long_trail: str
) -> None:
    lines = sent = 0
    tracemalloc.start()
    try:
        async with http.stream(
            "GET",
            f"/api{path(long_trail, 'ndjson', '&action=test.measured')}",
            headers={"Authorization": f"Bearer {ann.token}"},
            timeout=60,
        ) as answer:
            assert answer.status_code == 200
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            async for part in answer.aiter_bytes():
                lines += part.count(b"\n")
                sent += len(part)
            _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert lines == MEASURED
    assert peak - before < HELD_BYTES_MAX < sent


@pytest.fixture
async def stalled(url: str, ann: Person, long_trail: str) -> AsyncIterator[asyncio.StreamWriter]:
    """A client that asked for all of it, and takes next to nothing."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
    writer.write(
        f"GET /api{path(long_trail, 'ndjson', '&action=test.done')} HTTP/1.1\r\nHost: {host}\r\n"
        f"Authorization: Bearer {ann.token}\r\n\r\n".encode()
    )
    assert (await reader.read(12)) == b"HTTP/1.1 200"
    yield writer
    writer.close()


async def test_who_hangs_up_ends_the_cursor_frees_the_connection_and_is_in_the_trail(
    stalled: asyncio.StreamWriter, long_trail: str
) -> None:
    assert len(exports._running) == 1
    stalled.transport.abort()
    await until(lambda: not exports._running)
    await until(lambda: _has_broken(long_trail))
    [*_, broken] = await rows_of(long_trail, "audit_logs.export_broken")
    assert broken["outcome"] == "failure"
    assert broken["metadata"]["count"] < (ROWS - MEASURED) / 2, (
        "nothing is read ahead for who does not take it"
    )
    await take_all_connections()


async def _has_broken(team: str) -> bool:
    return bool(await rows_of(team, "audit_logs.export_broken"))


async def test_there_are_only_so_many_at_once(ann: Person, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "AT_ONCE", 0)
    team = await api.team(ann)
    answer = await ann.get(path(team, "csv"))
    problem(answer, 429, "too_many_exports")
    assert answer.headers["Retry-After"] == str(exports.TRY_AGAIN_AFTER_S)
    assert await rows_of(team, "audit_logs.export_started") == []


async def test_what_breaks_off_is_not_taken_for_the_whole(
    ann: Person, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    team = await api.team(ann)

    async def breaks(*given: Any) -> AsyncIterator[Any]:
        raise OSError("the database is gone")
        yield

    monkeypatch.setattr(db, "stream", breaks)
    with pytest.raises(httpx.RemoteProtocolError):
        await ann.get(path(team, "csv"))
    await until(lambda: _has_broken(team))


async def test_where_its_end_cannot_be_told_the_client_is_cut_off(
    ann: Person, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    team = await api.team(ann)
    aborted: list[LiveHttp] = []
    abort = LiveHttp.abort

    def watched(connection: LiveHttp) -> None:
        aborted.append(connection)
        abort(connection)

    async def fails(export: exports.Export) -> None:
        exports._running.discard(export)
        raise OSError("the database is gone")

    monkeypatch.setattr(LiveHttp, "abort", watched)
    monkeypatch.setattr(exports.Export, "end", fails)
    with pytest.raises(httpx.RemoteProtocolError):
        await ann.get(path(team, "csv"))
    await until(lambda: len(aborted) == 1)


async def test_an_export_is_no_answer_to_an_rpc(url: str, ann: Person) -> None:
    async with raw(url, token=ann.token) as client:
        method = f"GET /api{path(ann.personal_team_id, 'json')}"
        answer = await client.ask(rpc={"method": method, "data": {}})
    assert answer["rpc"]["data"]["status"] == 422
    assert answer["rpc"]["data"]["body"]["code"] == "http_only"
