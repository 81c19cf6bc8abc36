"""Partitions by time: make the coming ones, drop the past ones.

Partitions are named `<table>_<yyyymmdd>` after the day they begin; any process may roll them, one at a time.
"""

from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec

from domain import db
from domain.clock import now

AHEAD = {"day": 14, "month": 3}
REMADE_WITHIN_S = 300

Step = Literal["day", "month"]


class Partition(msgspec.Struct, frozen=True):
    """A partition, and from when (inclusive) to when (exclusive) its rows are."""

    table: str
    name: str
    begin: datetime
    end: datetime


async def roll(table: str, *, by: Step, keep: int | None = None) -> None:
    """Make partitions for now and AHEAD of it; with `keep` (days), drop those that ended longer ago."""
    first = begin = _begin(now(), by)
    async with db.maintenance() as unit:
        await unit.connection.execute("SELECT pg_advisory_xact_lock(hashtext($1))", f"partitions of {table}")
        existing = await _names(table)
        for _ in range(AHEAD[by] + 1):
            end = _begin(begin + timedelta(days=32 if by == "month" else 1), by)
            name = f"{table}_{begin:%Y%m%d}"
            if name not in existing:
                await unit.connection.execute(
                    f"CREATE TABLE {name} PARTITION OF {table} {_bounds(begin, end)}"
                )
            begin = end
        if keep is None:
            return
        for name in sorted(existing):
            if _began(table, name) < _begin(first - timedelta(days=keep), by):
                await unit.connection.execute(f"DROP TABLE {name}")


async def begins(table: str) -> list[datetime]:
    """When the partitions begin, the newest first."""
    return sorted((_began(table, name) for name in await _names(table)), reverse=True)


async def ended(table: str, *, before: datetime) -> list[Partition]:
    """The partitions by month that ended before then, the oldest first."""
    months = [(name, _began(table, name)) for name in sorted(await _names(table))]
    found = [
        Partition(table, name, begin, _begin(begin + timedelta(days=32), "month")) for name, begin in months
    ]
    return [month for month in found if month.end <= before]


async def drop(partition: Partition) -> None:
    await db.execute(f"DROP TABLE {partition.name}")


async def remake(partition: Partition, staying: str, *args: object) -> None:
    """Put a partition with the `staying` rows (a condition) in its place, in the maintenance under way.

    No row is deleted on the way, so no trigger is in the way. Others read and write the table meanwhile,
    but for the moment in which the one takes the place of the other.
    """
    connection = db.current().connection
    made = f"{partition.name}_made"
    await db.execute(f"CREATE TABLE {made} (LIKE {partition.table} INCLUDING ALL EXCLUDING INDEXES)")
    columns = await db.fetchval(
        """SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
           WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''""",
        partition.table,
    )
    await connection.execute(
        f"INSERT INTO {made} ({columns}) SELECT {columns} FROM {partition.name} WHERE {staying}",  # noqa: S608 - names of ours
        *args,
        timeout=REMADE_WITHIN_S,
    )
    await drop(partition)
    await db.execute(f"ALTER TABLE {made} RENAME TO {partition.name}")
    part = _bounds(partition.begin, partition.end)
    await db.execute(f"ALTER TABLE {partition.table} ATTACH PARTITION {partition.name} {part}")


async def _names(table: str) -> set[str]:
    rows = await db.fetch(
        "SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
        "WHERE i.inhparent = $1::text::regclass",
        table,
    )
    return {row["name"] for row in rows}


def _bounds(begin: datetime, end: datetime) -> str:
    return f"FOR VALUES FROM ('{begin.isoformat()}') TO ('{end.isoformat()}')"


def _began(table: str, name: str) -> datetime:
    return datetime.strptime(name.removeprefix(f"{table}_"), "%Y%m%d").replace(tzinfo=UTC)


def _begin(at: datetime, by: Step) -> datetime:
    midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight.replace(day=1) if by == "month" else midnight
