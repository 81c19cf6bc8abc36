"""The log: for each channel a dense, ordered stream of entries.

Promises
  - Offsets of a channel are 1, 2, 3 … without a hole, in the order in which transactions commit: the row in
    stream_heads is locked from `append` until COMMIT, which comes right after it.
  - An entry exists if and only if the change it tells of was committed.
  - `epoch` is made with the channel's head; another epoch means another stream, and no offset carries over.
  - Entries are kept KEPT_DAYS; heads are kept for good, so that "you missed nothing" can always be told.

`append` runs one statement in the caller's transaction. It must be the last thing before COMMIT: it holds the
locks that order all writers of a channel. Heads are locked in sorted order, so two writers never wait for
each other.
"""

import secrets
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg
import msgspec

from domain import db, partitions
from domain.clock import now

KEPT_DAYS = 7


class Draft(msgspec.Struct, frozen=True):
    """An entry that has no offset yet; `data` is finished JSON text without a raw newline."""

    channel: str
    id: str
    type: str
    data: str


class Entry(msgspec.Struct, frozen=True):
    """A committed entry."""

    channel: str
    epoch: str
    offset: int
    id: str
    type: str
    data: str


class Head(msgspec.Struct, frozen=True):
    """Where a channel's stream stands: `offset` is that of its newest entry, 0 before the first."""

    channel: str
    epoch: str
    offset: int


_STATEMENT = """
WITH {first}wanted AS (
    SELECT channel, count(*) AS n FROM unnest($1::text[]) AS t (channel) WHERE {where} GROUP BY channel
), heads AS (
    INSERT INTO stream_heads AS h (channel, epoch, top)
    SELECT channel, $6, n FROM wanted ORDER BY channel
    ON CONFLICT (channel) DO UPDATE SET top = h.top + excluded.top
    RETURNING h.channel, h.epoch, h.top
), numbered AS (
    SELECT d.nth, d.channel, h.epoch, d.id, d.type, d.data,
           h.top - w.n + row_number() OVER (PARTITION BY d.channel ORDER BY d.nth) AS "offset"
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])
         WITH ORDINALITY AS d (channel, id, type, data, nth)
    JOIN heads h USING (channel) JOIN wanted w USING (channel)
), entries AS (
    INSERT INTO stream_entries (channel, "offset", id, type, data, created_at)
    SELECT channel, "offset", id, type, data, $5 FROM numbered
){beside}
SELECT nth, epoch, "offset" FROM numbered ORDER BY nth
"""


def statement(beside: str = "", *, first: str = "", where: str = "true") -> str:
    """The SQL of `append`.

    `beside` is one more CTE that may read `numbered` and the parameters from $7 on. `first` are CTEs that
    come before it all, and `where` a condition on those, asked before a head is locked: unless it holds,
    nothing is appended.
    """
    return _STATEMENT.format(
        beside=f", {beside}" if beside else "", first=f"{first}, " if first else "", where=where
    )


_APPEND = statement()


async def append(
    connection: asyncpg.Connection,
    drafts: Sequence[Draft],
    *,
    sql: str = _APPEND,
    beside: Sequence[object] = (),
) -> list[Entry]:
    """Give the drafts their offsets, in order, and write them; none are returned if a condition did not hold.

    `sql` and `beside` are for record() alone.
    """
    rows = await connection.fetch(
        sql,
        [draft.channel for draft in drafts],
        [draft.id for draft in drafts],
        [draft.type for draft in drafts],
        [draft.data for draft in drafts],
        now(),
        secrets.token_urlsafe(6),
        *beside,
    )
    if not rows:
        return []
    return [
        Entry(draft.channel, row["epoch"], row["offset"], draft.id, draft.type, draft.data)
        for draft, row in zip(drafts, rows, strict=True)
    ]


async def read(channel: str, after: int, *, limit: int, until: int | None = None) -> list[Entry]:
    """Up to `limit` entries with offsets above `after` (and not above `until`), ascending.

    The caller checks that they follow on each other: entries past their time are gone, from the oldest on.
    """
    rows = await db.fetch(
        """SELECT e.channel, h.epoch, e."offset", e.id, e.type, e.data
           FROM stream_entries e JOIN stream_heads h USING (channel)
           WHERE e.channel = $1 AND e."offset" > $2 AND ($3::bigint IS NULL OR e."offset" <= $3)
           ORDER BY e."offset" LIMIT $4""",
        channel,
        after,
        until,
        limit,
    )
    return [db.as_struct(Entry, row) for row in rows]


async def read_back(channel: str, before: int | None, *, limit: int) -> list[Entry]:
    """Up to `limit` entries with offsets below `before` (None: from the newest), descending."""
    rows = await db.fetch(
        """SELECT e.channel, h.epoch, e."offset", e.id, e.type, e.data
           FROM stream_entries e JOIN stream_heads h USING (channel)
           WHERE e.channel = $1 AND ($2::bigint IS NULL OR e."offset" < $2)
           ORDER BY e."offset" DESC LIMIT $3""",
        channel,
        before,
        limit,
    )
    return [db.as_struct(Entry, row) for row in rows]


async def heads(channels: Sequence[str]) -> list[Head]:
    """Where these channels stand, in one query; channels that never had a head are left out."""
    rows = await db.fetch(
        'SELECT channel, epoch, top AS "offset" FROM stream_heads WHERE channel = ANY($1)', list(channels)
    )
    return [db.as_struct(Head, row) for row in rows]


async def open_heads(channels: Collection[str]) -> list[Head]:
    """Where these channels stand; those that never had a head get one (offset 0). Not inside a snapshot."""
    found: dict[str, Head] = {}
    missing = sorted(set(channels))
    while missing:
        rows = await db.fetch(_OPEN, missing, secrets.token_urlsafe(6))
        found |= {row["channel"]: db.as_struct(Head, row) for row in rows}
        # What somebody else was just making is there the next time.
        missing = [channel for channel in missing if channel not in found]
    return list(found.values())


_OPEN = """
WITH known AS (
    SELECT channel, epoch, top FROM stream_heads WHERE channel = ANY($1::text[])
), made AS (
    INSERT INTO stream_heads (channel, epoch, top)
    SELECT channel, $2, 0 FROM unnest($1::text[]) AS t (channel)
    WHERE channel NOT IN (SELECT channel FROM known) ORDER BY channel
    ON CONFLICT DO NOTHING RETURNING channel, epoch, top
)
SELECT channel, epoch, top AS "offset" FROM known UNION ALL SELECT channel, epoch, top FROM made
"""


async def open_head(channel: str) -> Head:
    """Where one channel stands, likewise."""
    return (await open_heads([channel]))[0]


@asynccontextmanager
async def snapshot(channel: str) -> AsyncIterator[Head]:
    """Reads that all see one moment, and where the channel stood then: a list, and where to go on from."""
    await open_head(channel)
    async with db.snapshot():
        yield (await heads([channel]))[0]


# A column that says where a channel stands, for `rows_at`; {} is the parameter that names the channel.
HEAD_OF = "(SELECT epoch || ' ' || top FROM stream_heads WHERE channel = {}) AS head"


async def rows_at(channel: str, sql: str, *args: object) -> tuple[list[asyncpg.Record], Head]:
    """The rows of a query, and where the channel stood when they were so.

    One statement sees one moment, so `sql` has HEAD_OF among its columns, with `channel` as the parameter
    after `args`. Where no row can carry it, rows and head are read in one snapshot.
    """
    found = await db.fetch(sql, *args, channel)
    if found and found[0]["head"] is not None:
        epoch, _, top = found[0]["head"].partition(" ")
        return found, Head(channel, epoch, int(top))
    async with snapshot(channel) as head:
        return await db.fetch(sql, *args, channel), head


async def recent_heads(seconds: float) -> list[Head]:
    """The heads of all channels that got an entry within the last `seconds`."""
    rows = await db.fetch(
        """SELECT channel, epoch, top AS "offset" FROM stream_heads
           WHERE channel IN (SELECT channel FROM stream_entries WHERE created_at > $1)""",
        now() - timedelta(seconds=seconds),
    )
    return [db.as_struct(Head, row) for row in rows]


async def roll_partitions() -> None:
    """Make the coming days' partitions and drop those whose entries are all past their time."""
    await partitions.roll("stream_entries", by="day", keep=KEPT_DAYS)


# Who hears of committed entries, in this process and right after COMMIT: the bus, and the request that made
# them.
listeners: list[Callable[[Sequence[Entry]], None]] = []


def announce(entries: Sequence[Entry]) -> None:
    for listener in listeners:
        listener(entries)
