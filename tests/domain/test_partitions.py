"""Partitions by time: the coming ones are there before they are needed, and only what is past goes."""

import secrets
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta

import asyncpg
import pytest

from domain import clock, db, partitions
from domain.partitions import Partition

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


@pytest.fixture
async def month(outside: asyncpg.Connection, table: str) -> Partition:
    """Such a month as the audit trail's: keys, several indexes, a generated column, and ten rows."""
    await outside.execute(
        f"""ALTER TABLE {table} ADD COLUMN n int, ADD COLUMN tsv tsvector NOT NULL
                GENERATED ALWAYS AS (to_tsvector('simple', n::text)) STORED, ADD PRIMARY KEY (n, at);
            CREATE INDEX ON {table} USING gin (n, tsv);
            CREATE INDEX ON {table} (at) WHERE n > 3;
            CREATE TABLE {table}_20260101 PARTITION OF {table}
                FOR VALUES FROM ('2026-01-01Z') TO ('2026-02-01Z');
            INSERT INTO {table} (at, n) SELECT '2026-01-10Z', n FROM generate_series(1, 10) n"""  # noqa: S608 - names of ours
    )
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    return Partition(table, f"{table}_20260101", begin, begin + timedelta(days=31))


async def indexes(outside: asyncpg.Connection, name: str) -> dict[int, bool]:
    """A table's indexes by id and file, and whether each is part of one of the parent's."""
    rows = await outside.fetch(
        """SELECT i.indexrelid::int8 AS id, c.relispartition AS attached FROM pg_index i
           JOIN pg_class c ON c.oid = i.indexrelid AND c.relfilenode <> 0
           WHERE i.indrelid = $1::text::regclass""",
        name,
    )
    return {row["id"]: row["attached"] for row in rows}


@pytest.mark.usefixtures("url")
async def test_a_copy_takes_its_place_without_an_index_built_or_a_row_read(
    outside: asyncpg.Connection, month: Partition
) -> None:
    await outside.execute(f"CREATE TABLE {month.name}_made ()")  # of a try that failed
    async with db.maintenance(within_s=60):
        made = await partitions.copy(month, "n > $1", 4)
    before = await indexes(outside, f"{month.name}_made")
    assert set(before.values()) == {False}
    said: list[str] = []

    def hear(_: object, message: asyncpg.PostgresLogMessage) -> None:
        said.append(message.message)

    async with db.maintenance() as unit:
        await unit.connection.execute("SET LOCAL client_min_messages = debug1")
        unit.connection.add_log_listener(hear)
        await partitions.swap(month, made)
        unit.connection.remove_log_listener(hear)
    after = await indexes(outside, month.name)
    assert len(after) == 3
    assert after == dict.fromkeys(before, True)
    assert any("is implied by existing constraints" in message for message in said)
    rows = await outside.fetch(f"SELECT n, tsv::text FROM {month.table} ORDER BY n")  # noqa: S608 - as above
    assert [tuple(row) for row in rows] == [(n, f"'{n}':1") for n in range(5, 11)]
    checks = "SELECT count(*) FROM pg_constraint WHERE conrelid = $1::text::regclass AND contype = 'c'"
    assert await outside.fetchval(checks, month.name) == 0
    assert await outside.fetchval("SELECT to_regclass($1)", f"{month.name}_made") is None


@pytest.mark.usefixtures("url")
async def test_while_a_copy_is_made_others_write_and_only_its_maker_may_put_it_in_its_place(
    outside: asyncpg.Connection, month: Partition
) -> None:
    await outside.execute("SET lock_timeout = '100ms'")
    insert = f"INSERT INTO {month.table} (at, n) VALUES ('2026-01-11Z', $1)"  # noqa: S608 - a name of ours
    async with db.maintenance():
        made = await partitions.copy(month, "true")
        await outside.execute(insert, 11)
    await outside.execute(insert, 12)
    async with db.maintenance():
        await partitions.copy(month, "true")
    with pytest.raises(RuntimeError, match="somebody else"):
        async with db.maintenance():
            await partitions.swap(month, made)
    assert await outside.fetchval(f"SELECT count(*) FROM {month.table}") == 12  # noqa: S608 - as above
    async with outside.transaction():
        await outside.execute(f"LOCK TABLE {month.table} IN ACCESS SHARE MODE")
        with pytest.raises(asyncpg.LockNotAvailableError):
            async with db.maintenance():
                await partitions.drop(month)
    async with db.maintenance():
        await partitions.discard(month)
    assert await outside.fetchval("SELECT to_regclass($1)", f"{month.name}_made") is None
