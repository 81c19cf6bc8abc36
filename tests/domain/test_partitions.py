"""Partitions by time: the coming ones are there before they are needed, and only what is past goes."""

import secrets
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta

import asyncpg
import pytest

from domain import clock, partitions

LAST_DAY_OF_THE_YEAR = datetime(2027, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)


@pytest.fixture
async def table(outside: asyncpg.Connection) -> AsyncIterator[str]:
    """A partitioned table without partitions."""
    name = f"scratch_{secrets.token_hex(6)}"
    await outside.execute(f"CREATE TABLE {name} (at timestamptz NOT NULL) PARTITION BY RANGE (at)")
    try:
        yield name
    finally:
        await outside.execute(f"DROP TABLE {name}")


@pytest.fixture
def at_the_end_of_the_year(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitions, "now", lambda: LAST_DAY_OF_THE_YEAR)


async def begins(outside: asyncpg.Connection, table: str) -> list[date]:
    """The days on which the table's partitions begin, by their names."""
    rows = await outside.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = $1::text::regclass", table
    )
    return sorted(
        datetime.strptime(row["name"], f"{table}_%Y%m%d").replace(tzinfo=UTC).date() for row in rows
    )


@pytest.mark.usefixtures("at_the_end_of_the_year")
async def test_partitions_by_day_reach_from_today_two_weeks_on(
    outside: asyncpg.Connection, table: str
) -> None:
    await partitions.roll(table, by="day")
    today = LAST_DAY_OF_THE_YEAR.date()
    assert await begins(outside, table) == [today + timedelta(days=n) for n in range(15)]


@pytest.mark.usefixtures("at_the_end_of_the_year")
async def test_partitions_by_month_reach_over_the_end_of_the_year(
    outside: asyncpg.Connection, table: str
) -> None:
    await partitions.roll(table, by="month")
    assert await begins(outside, table) == [
        date(2027, 12, 1),
        date(2028, 1, 1),
        date(2028, 2, 1),
        date(2028, 3, 1),
    ]


@pytest.mark.usefixtures("at_the_end_of_the_year")
@pytest.mark.parametrize("by", ["day", "month"])
async def test_there_is_a_place_for_every_moment_that_partitions_cover_and_for_none_before(
    outside: asyncpg.Connection, table: str, by: partitions.Step
) -> None:
    await partitions.roll(table, by=by)
    days = await begins(outside, table)
    first = datetime.combine(days[0], datetime.min.time(), UTC)
    edges = [first]
    for day in days[1:]:
        begin = datetime.combine(day, datetime.min.time(), UTC)
        edges += [begin - timedelta(microseconds=1), begin]
    insert = f"INSERT INTO {table} (at) VALUES ($1)"  # noqa: S608 - a name of ours
    await outside.executemany(insert, [(edge,) for edge in edges])

    assert len(await outside.fetch(f"TABLE {table}")) == len(edges)
    with pytest.raises(asyncpg.CheckViolationError, match="no partition"):
        await outside.execute(insert, first - timedelta(microseconds=1))


async def test_rolling_drops_the_partitions_whose_days_are_all_past_their_time_and_no_other(
    outside: asyncpg.Connection, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    today = LAST_DAY_OF_THE_YEAR.date()
    monkeypatch.setattr(partitions, "now", lambda: LAST_DAY_OF_THE_YEAR - timedelta(days=10))
    await partitions.roll(table, by="day")
    monkeypatch.setattr(partitions, "now", lambda: LAST_DAY_OF_THE_YEAR)
    await partitions.roll(table, by="day")
    assert (await begins(outside, table))[0] == today - timedelta(days=10), "without `keep` nothing goes"

    await partitions.roll(table, by="day", keep=7)

    days = await begins(outside, table)
    assert days == [today + timedelta(days=n) for n in range(-7, 15)]
    youngest_dropped = datetime.combine(days[0], datetime.min.time(), UTC) - timedelta(microseconds=1)
    assert LAST_DAY_OF_THE_YEAR - youngest_dropped >= timedelta(days=7), "nothing goes before its time"


@pytest.mark.usefixtures("at_the_end_of_the_year")
async def test_rolling_twice_changes_nothing(outside: asyncpg.Connection, table: str) -> None:
    await partitions.roll(table, by="day", keep=7)
    before = await begins(outside, table)
    await partitions.roll(table, by="day", keep=7)
    assert before
    assert await begins(outside, table) == before


async def test_the_log_and_the_audit_trail_have_room_for_the_coming_days(outside: asyncpg.Connection) -> None:
    assert (await begins(outside, "stream_entries"))[-1] >= clock.now().date() + timedelta(days=13)
    assert (await begins(outside, "audit_logs"))[-1] >= clock.now().date() + timedelta(days=31)
