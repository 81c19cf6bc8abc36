"""Partitions by time: make the coming ones, drop the past ones.

Partitions are named `<table>_<yyyymmdd>` after the day they begin; any process may roll them, one at a time.
"""

from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec

from domain import db
from domain.clock import now

AHEAD = {"day": 14, "month": 3}
COPIED_WITHIN_S = 3000
LOCKED_WITHIN_S = 1

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
    """Drop a partition, in the maintenance under way.

    From here to COMMIT nobody reads or writes the table. Raises asyncpg.LockNotAvailableError where others
    were at it for LOCKED_WITHIN_S: those who come wait behind us, so we wait for a moment only.
    """
    connection = db.current().connection
    await connection.execute(f"SET LOCAL lock_timeout = '{LOCKED_WITHIN_S}s'")
    await connection.execute(f"DROP TABLE {partition.name}", timeout=COPIED_WITHIN_S)


async def copy(partition: Partition, staying: str, *args: object) -> int:
    """Make another partition of the `staying` rows (a condition); its id, for swap().

    All that takes time is done here, while others read and write the table, and is committed before swap():
    the copy has the table's indexes, and a constraint that says what its bounds will be, so that attaching it
    neither builds an index nor reads a row. What is left of a try that failed is dropped.
    """
    await discard(partition)
    connection = db.current().connection
    column = await db.fetchval(
        """SELECT quote_ident(a.attname) FROM pg_partitioned_table p
           JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
           WHERE p.partrelid = $1::text::regclass""",
        partition.table,
    )
    await connection.execute(
        f"""CREATE TABLE {_made(partition)} (LIKE {partition.table} INCLUDING ALL,
                CONSTRAINT {_made(partition)}_bounds CHECK ({column} IS NOT NULL
                    AND {column} >= '{partition.begin.isoformat()}'::timestamptz
                    AND {column} < '{partition.end.isoformat()}'::timestamptz))""",
        timeout=COPIED_WITHIN_S,
    )
    columns = await db.fetchval(
        """SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
           WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''""",
        partition.table,
    )
    await connection.execute(
        f"""INSERT INTO {_made(partition)} ({columns})
            SELECT {columns} FROM {partition.name} WHERE {staying}""",  # noqa: S608 - names of ours
        *args,
        timeout=COPIED_WITHIN_S,
    )
    made = await _made_id(partition)
    assert made is not None, "it was just made"
    return made


async def swap(partition: Partition, made: int) -> None:
    """Put that copy in the partition's place, in the maintenance under way; as brief as drop().

    No row is deleted on the way, so no trigger is in the way. Raises asyncpg.LockNotAvailableError like
    drop(), and RuntimeError where somebody else made another copy since.
    """
    await drop(partition)
    if await _made_id(partition) != made:
        raise RuntimeError(f"the copy of {partition.name} is gone: somebody else is at it, too")
    connection = db.current().connection
    bounds = _bounds(partition.begin, partition.end)
    for statement in (
        f"ALTER TABLE {_made(partition)} RENAME TO {partition.name}",
        f"ALTER TABLE {partition.table} ATTACH PARTITION {partition.name} {bounds}",
        f"ALTER TABLE {partition.name} DROP CONSTRAINT {_made(partition)}_bounds",
    ):
        await connection.execute(statement, timeout=COPIED_WITHIN_S)


async def discard(partition: Partition) -> None:
    """Drop the copy, if there is one, in the maintenance under way."""
    await db.current().connection.execute(f"DROP TABLE IF EXISTS {_made(partition)}", timeout=COPIED_WITHIN_S)


def _made(partition: Partition) -> str:
    return f"{partition.name}_made"


async def _made_id(partition: Partition) -> int | None:
    found: int | None = await db.fetchval("SELECT to_regclass($1)::oid::int8", _made(partition))
    return found


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
