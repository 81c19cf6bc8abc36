"""Histories: what writers were told and what followers' handlers saw, in the order in which it happened.

A writer notes a change only after its answer: `committed` with the position that it was told, `undone` where
it was refused or rolled back on purpose, `unknown` where the answer was lost on the way. A follower notes
what its handlers were called with. The log itself (`Committed`) is read from Postgres at the end.

Times are seconds of CLOCK_MONOTONIC, which all processes of one machine share.
"""

import json
from collections.abc import Sequence
from typing import Any, Literal

import asyncpg
import msgspec


class Write(msgspec.Struct, frozen=True):
    """One change and its outcome.

    `marker` is in the entry that it makes. `offset` is told with `committed`, else 0; `at` is when the answer
    came, `began` when it was asked.
    """

    marker: str
    channel: str
    outcome: Literal["committed", "undone", "unknown"]
    offset: int = 0
    at: float = 0.0
    began: float = 0.0


class Committed(msgspec.Struct, frozen=True):
    """An entry as the log has it in the end. `marker` is empty where no writer of ours made it."""

    channel: str
    epoch: str
    offset: int
    id: str
    marker: str = ""


class Joined(msgspec.Struct, frozen=True):
    """The answer to a subscribe: where the follower is let in, and whether what it missed follows."""

    channel: str
    epoch: str
    offset: int
    was_recovering: bool
    recovered: bool
    at: float = 0.0


class Saw(msgspec.Struct, frozen=True):
    """A publication reached the handler. `id` is that of the entry."""

    channel: str
    offset: int
    id: str
    at: float = 0.0


class Snapshot(msgspec.Struct, frozen=True):
    """The follower read the list anew, which is true for this position."""

    channel: str
    epoch: str
    offset: int
    at: float = 0.0


class Left(msgspec.Struct, frozen=True):
    """The follower was told that it follows no more, and does not ask again by itself."""

    channel: str
    code: int
    at: float = 0.0


class Revoked(msgspec.Struct, frozen=True):
    """The right to follow was taken away: nothing may be seen from `at` on (the commit plus its bound)."""

    channel: str
    at: float


Seen = Joined | Saw | Snapshot | Left | Revoked


class History(msgspec.Struct):
    """All of one run. `followers[name]` is in the order in which the handlers were called.

    `books` are the items whose rows are to agree with each other.
    """

    log: Sequence[Committed]
    writes: Sequence[Write] = ()
    followers: dict[str, list[Seen]] = {}
    books: Sequence["Books"] = ()


class Books(msgspec.Struct, frozen=True):
    """What the tables say of one item, which began with `began` pieces, every change of which moved one."""

    item_id: str
    began: int
    quantity: int
    moved: int
    movements: int
    entries: int
    audits: int


async def read_log(connection: asyncpg.Connection, channels: Sequence[str]) -> list[Committed]:
    """The entries of these channels as they are, by channel and offset."""
    rows = await connection.fetch(
        """SELECT e.channel, h.epoch, e."offset", e.id, e.data FROM stream_entries e
           JOIN stream_heads h USING (channel) WHERE e.channel = ANY($1)
           ORDER BY e.channel, e."offset", e.id""",
        list(channels),
    )
    return [
        Committed(row["channel"], row["epoch"], row["offset"], row["id"], marker_of(json.loads(row["data"])))
        for row in rows
    ]


async def read_books(connection: asyncpg.Connection, team_ids: Sequence[str], *, began: int) -> list[Books]:
    """What row, movements, entries and trail say of these teams' items, each of which began with `began`
    pieces; also of items that only some of them know of.
    """
    rows = await connection.fetch(
        """WITH moves AS (
               SELECT item_id AS id, sum(delta) AS moved, count(*) AS movements FROM stock_movements
               WHERE team_id = ANY($1) GROUP BY item_id
           ), told AS (
               SELECT data::jsonb #>> '{data,item,id}' AS id, count(*) AS entries FROM stream_entries
               WHERE channel = ANY(SELECT 'inventory:' || unnest($1::text[])) GROUP BY 1
           ), trail AS (
               SELECT resource AS id, count(*) AS audits FROM audit_logs
               WHERE team_id = ANY($1) AND resource_type = 'item' GROUP BY resource
           )
           SELECT id AS item_id, coalesce(quantity, 0) AS quantity, coalesce(moved, 0) AS moved,
                  coalesce(movements, 0) AS movements, coalesce(entries, 0) AS entries,
                  coalesce(audits, 0) AS audits
           FROM (SELECT id, quantity FROM inventory WHERE team_id = ANY($1)) items
           FULL JOIN moves USING (id) FULL JOIN told USING (id) FULL JOIN trail USING (id) ORDER BY id""",
        list(team_ids),
    )
    return [Books(began=began, **{**dict(row), "moved": int(row["moved"])}) for row in rows]


def marker_of(entry: dict[str, Any]) -> str:
    """What a writer of ours put into the change, out of the entry's envelope; empty if there is nothing."""
    data = entry.get("data")
    if not isinstance(data, dict):
        return ""
    said = data["item"]["name"] if entry.get("type") == "inventory.created" else data.get("reason")
    return said if isinstance(said, str) else ""
