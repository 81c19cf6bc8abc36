"""record(): the change, its audit row and the news of it are one commit, or none of them is."""

# ruff: noqa: PT012 - it is the end of a transaction that raises: the block around it is what is tested

import json
from typing import Any

import asyncpg
import pytest

from domain import channels, db, streams
from domain.actor import Actor
from domain.events import Change, Event, Resource
from domain.record import record
from tests.domain.people import somebody, team_of


class Undo(Exception):
    """What a verb raises to roll back on purpose."""


class Happened(Event, frozen=True, kw_only=True):
    """A fact of this test: news for the team."""

    type = "tests.happened"

    word: str

    def resource(self) -> Resource:
        return Resource("test", self.word)

    def channels(self) -> tuple[str, ...]:
        return channels.team(self.team_id), channels.inventory(self.team_id)

    def news(self) -> dict[str, Any]:
        return {"word": self.word}

    def changes(self) -> dict[str, Change]:
        return {"word": Change(None, self.word)}

    def metadata(self) -> dict[str, Any]:
        return {"reason": "a test"}


async def audit(outside: asyncpg.Connection, team_id: str) -> list[asyncpg.Record]:
    return await outside.fetch("SELECT * FROM audit_logs WHERE team_id = $1 ORDER BY seq", team_id)


async def state(outside: asyncpg.Connection, team_id: str) -> tuple[int, int, int]:
    """How many audit rows, entries and counted offsets the team has."""
    of_team = f"%:{team_id}"
    return (
        len(await audit(outside, team_id)),
        await outside.fetchval("SELECT count(*) FROM stream_entries WHERE channel LIKE $1", of_team),
        await outside.fetchval("SELECT sum(top)::int FROM stream_heads WHERE channel LIKE $1", of_team),
    )


@pytest.mark.usefixtures("url")
async def test_everything_that_was_recorded_is_written_by_one_statement_before_commit(
    outside: asyncpg.Connection,
) -> None:
    ann = await somebody()
    team = await team_of(ann)
    before = await state(outside, team)
    said: list[str] = []
    async with db.transaction() as unit:
        await unit.connection.execute("SELECT 1")
        for word in ("one", "two", "three"):
            await record(ann, Happened(team_id=team, word=word))
        unit.connection.add_query_logger(lambda query: said.append(query.query))
        assert await state(outside, team) == before, "nothing is written before the end"
    unit_statements = [query for query in said if query.strip() != "COMMIT;"]

    assert len(unit_statements) == 1, unit_statements
    assert said[-1] == "COMMIT;"
    for table in ("audit_logs", "stream_heads", "stream_entries"):
        assert f"INSERT INTO {table}" in unit_statements[0]
    # Three facts: an audit row each, and an entry each in the team's, the inventory's and the audit channel.
    assert await state(outside, team) == (before[0] + 3, before[1] + 9, before[2] + 9)


async def test_an_audit_rows_seq_is_its_offset_in_the_audit_channel_dense_and_in_order(
    outside: asyncpg.Connection,
) -> None:
    ann = await somebody()
    team, other = await team_of(ann), await team_of(ann)
    for number in range(3):
        async with db.transaction():
            await record(ann, Happened(team_id=team, word=f"{number} a"))
            await record(ann, Happened(team_id=other, word=f"{number} elsewhere"))
            await record(ann, Happened(team_id=team, word=f"{number} b"))

    for team_id in (team, other):
        rows = await audit(outside, team_id)
        entries = await streams.read(channels.audit(team_id), 0, limit=100)
        assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
        assert [(row["seq"], row["id"]) for row in rows] == [(entry.offset, entry.id) for entry in entries]
    words = [row["resource"] for row in await audit(outside, team) if row["action"] == Happened.type]
    assert words == ["0 a", "0 b", "1 a", "1 b", "2 a", "2 b"]


async def test_an_audit_row_tells_who_did_what_to_which_thing_from_where_and_what_it_changed(
    outside: asyncpg.Connection,
) -> None:
    ann = await somebody()
    team = await team_of(ann)
    actor = Actor(
        user_id=ann.user_id,
        session_id=ann.session_id,
        key_id="key_of_ann",
        ip="192.0.2.7",
        user_agent="a browser",
        request_id="req-1",
    )
    async with db.transaction():
        await record(actor, Happened(team_id=team, word="new"))

    row = (await audit(outside, team))[-1]
    assert {
        name: row[name] for name in ("user_id", "session_id", "key_id", "ip", "user_agent", "request_id")
    } == {
        "user_id": ann.user_id,
        "session_id": ann.session_id,
        "key_id": "key_of_ann",
        "ip": "192.0.2.7",
        "user_agent": "a browser",
        "request_id": "req-1",
    }
    assert (row["action"], row["resource_type"], row["resource"], row["outcome"]) == (
        "tests.happened",
        "test",
        "new",
        "success",
    )
    assert json.loads(row["changes"]) == {"word": {"before": None, "after": "new"}}
    assert json.loads(row["metadata"]) == {"reason": "a test"}
    live = (await streams.read_back(channels.audit(team), None, limit=1))[0]
    assert json.loads(live.data)["data"]["changes"] == json.loads(row["changes"])


async def test_the_news_is_the_same_finished_text_on_each_of_its_channels() -> None:
    ann = await somebody()
    team = await team_of(ann)
    async with db.transaction():
        await record(ann, Happened(team_id=team, word="new\nline"))

    [in_team] = await streams.read_back(channels.team(team), None, limit=1)
    [in_inventory] = await streams.read_back(channels.inventory(team), None, limit=1)
    assert (in_team.id, in_team.data) == (in_inventory.id, in_inventory.data)
    assert "\n" not in in_team.data
    told = json.loads(in_team.data)
    assert (told["id"], told["type"], told["actor"]) == (in_team.id, "tests.happened", ann.user_id)
    assert told["data"] == {"word": "new\nline"}


async def test_what_was_rolled_back_is_in_no_trail_and_on_no_channel(outside: asyncpg.Connection) -> None:
    ann = await somebody()
    team = await team_of(ann)
    before = await state(outside, team)
    assert before[0], "making a team leaves a trail: it is there to be compared with"
    with pytest.raises(Undo):
        async with db.transaction():
            await record(ann, Happened(team_id=team, word="never"))
            raise Undo
    assert await state(outside, team) == before


async def test_nothing_is_recorded_outside_a_transaction_or_inside_a_snapshot(
    outside: asyncpg.Connection,
) -> None:
    ann = await somebody()
    team = await team_of(ann)
    before = await state(outside, team)
    with pytest.raises(RuntimeError, match="only inside"):
        await record(ann, Happened(team_id=team, word="never"))
    with pytest.raises(RuntimeError, match="only inside"):
        async with db.snapshot():
            await record(ann, Happened(team_id=team, word="never"))
    assert await state(outside, team) == before


@pytest.mark.parametrize("change", ["UPDATE audit_logs SET action = 'x'", "DELETE FROM audit_logs"])
async def test_an_audit_row_is_never_changed_or_deleted(change: str, outside: asyncpg.Connection) -> None:
    ann = await somebody()
    team = await team_of(ann)
    rows = await audit(outside, team)
    with pytest.raises(asyncpg.RaiseError, match="append only"):
        await outside.execute(f"{change} WHERE team_id = $1", team)
    assert rows
    assert await audit(outside, team) == rows
