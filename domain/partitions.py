"""Partitions by time: make the coming ones, drop the past ones.

Partitions are named `<table>_<yyyymmdd>` after the day they begin; any process may roll them, one at a time.
"""

from datetime import UTC, datetime, timedelta
from typing import Literal

from domain import db
from domain.clock import now

AHEAD = {"day": 14, "month": 3}

Step = Literal["day", "month"]


async def roll(table: str, *, by: Step, keep: int | None = None) -> None:
    """Make partitions for now and AHEAD of it; with `keep` (days), drop those that ended longer ago."""
    first = begin = _begin(now(), by)
    async with db.transaction() as unit:
        await unit.connection.execute("SELECT pg_advisory_xact_lock(hashtext($1))", f"partitions of {table}")
        existing = {
            row["name"]
            for row in await unit.connection.fetch(
                "SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
                "WHERE i.inhparent = $1::text::regclass",
                table,
            )
        }
        for _ in range(AHEAD[by] + 1):
            end = _begin(begin + timedelta(days=32 if by == "month" else 1), by)
            name = f"{table}_{begin:%Y%m%d}"
            if name not in existing:
                await unit.connection.execute(
                    f"CREATE TABLE {name} PARTITION OF {table} "
                    f"FOR VALUES FROM ('{begin.isoformat()}') TO ('{end.isoformat()}')"
                )
            begin = end
        if keep is None:
            return
        for name in sorted(existing):
            began = datetime.strptime(name.removeprefix(f"{table}_"), "%Y%m%d").replace(tzinfo=UTC)
            if began < _begin(first - timedelta(days=keep), by):
                await unit.connection.execute(f"DROP TABLE {name}")


def _begin(at: datetime, by: Step) -> datetime:
    midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight.replace(day=1) if by == "month" else midnight
