"""Search: the rows of a trail that match, newest first; as fast in a long trail as in a short one.

Each filter has an index in the order of the trail, so a page is its first rows. Three things need more:

words       A common word is found within the newest WALKED rows; of a rare one the index names less than
            RARE rows, to be sorted. So the one is tried first, then the other; what is neither is looked for
            month by month, the newest first, so that a word that was common long ago costs no more than one
            month of it.
times       Rows are in the order of their commits, and so, nearly, of their times: where a time is in the
            trail is found by halving. Servers' clocks may differ by DISORDER; the exact times are looked at
            as well.
outcomes    are few, and stand in the statement itself: a plan that is kept for all of them fits none.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from domain import db, partitions
from domain.audit_logs.model import AuditRecord, Filter
from domain.conditions import Conditions

WALKED: Final = 1000
RARE: Final = 1000
ID_CHARACTERS: Final = 26
DISORDER: Final = timedelta(minutes=10)
_OUTCOMES: Final = {
    "success": "outcome = 'success'",
    "denied": "outcome = 'denied' AND outcome <> 'success'",
    "failure": "outcome = 'failure' AND outcome <> 'success'",
}
_COLUMNS: Final = ", ".join(AuditRecord.__struct_fields__)
_WORDS: Final = "tsv @@ websearch_to_tsquery('simple', {})"
# The first row whose time is not before $2, if times rise; beyond the last row where there is none.
_PLACE: Final = """
WITH RECURSIVE search AS (
    SELECT min(seq) AS low, max(seq) + 1 AS high FROM audit_logs WHERE team_id = $1
    UNION ALL
    SELECT CASE WHEN probe.at < $2 THEN probe.seq + 1 ELSE low END,
           CASE WHEN probe.at < $2 THEN high ELSE middle END
    FROM (SELECT low, high, (low + high) / 2 AS middle FROM search WHERE low < high) halves,
         LATERAL (SELECT seq, "timestamp" AS at FROM audit_logs
                  WHERE team_id = $1 AND seq >= middle ORDER BY seq LIMIT 1) probe
)
SELECT low FROM search WHERE low >= high
"""


class Asked(Conditions):
    """What rows of a team must meet, the words apart from the rest."""

    def __init__(self, team_id: str) -> None:
        super().__init__("team_id = {}", team_id)
        self.words: str | None = None

    def have_words(self, query: str | None) -> None:
        if query is not None:
            self.words = _WORDS.format(self.place(query))

    @property
    def but_words(self) -> str:
        return super().where

    @property
    def where(self) -> str:
        return " AND ".join((self.but_words, *([self.words] if self.words else ())))


async def conditions(team_id: str, only: Filter, *, before: int | None = None) -> Asked:
    """The filter as SQL; `before` is the row that a page follows on."""
    asked = Asked(team_id)
    asked.must("user_id = {}", only.actor)
    asked.must("action = {}", only.action)
    asked.must("resource = {}" if _is_id(only.resource) else "resource_type = {}", only.resource)
    asked.must("ip = {}", only.ip)
    if only.outcome is not None:
        asked.must(_OUTCOMES.get(only.outcome, "false"))
    asked.have_words(only.query)
    asked.must("seq < {}", before)
    asked.must('"timestamp" >= {}', only.since)
    asked.must('"timestamp" < {}', only.until)
    asked.must("seq >= {}", await _place(team_id, only.since, -DISORDER))
    asked.must("seq < {}", await _place(team_id, only.until, DISORDER))
    return asked


async def newest(team_id: str, only: Filter, *, before: int | None, limit: int) -> list[AuditRecord]:
    """Up to `limit` rows, newest first, that come before a row (by its seq). Inside a snapshot."""
    asked = await conditions(team_id, only, before=before)
    if asked.words is None:
        sql = f"SELECT {_COLUMNS} FROM audit_logs WHERE {asked.where}"  # noqa: S608 - names of ours
        return await _records(sql, asked.args, limit)
    walk = f"""SELECT {_COLUMNS} FROM (
                   SELECT {_COLUMNS}, tsv FROM audit_logs WHERE {asked.but_words}
                   ORDER BY seq DESC LIMIT {WALKED}
               ) AS walked WHERE {asked.words}"""  # noqa: S608 - names and numbers of ours
    found = await _records(walk, asked.args, limit)
    if len(found) == limit:
        return found
    rare = await _rare(asked, limit)
    return rare if rare is not None else await _by_month(asked, only, limit)


async def _rare(asked: Asked, limit: int) -> list[AuditRecord] | None:
    """The rows, if there are less than RARE in the whole trail; None for more."""
    # A planner that is told of a LIMIT hopes to meet that many soon, and walks all rows for a word of none.
    await db.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_indexscan = off")
    named = await db.fetch(
        f'SELECT seq, "timestamp" FROM audit_logs WHERE {asked.where} LIMIT {RARE}',  # noqa: S608 - see above
        *asked.args,
    )
    await db.execute("SET LOCAL enable_seqscan = on; SET LOCAL enable_indexscan = on")
    if len(named) == RARE:
        return None
    newest = sorted(named, key=lambda row: row["seq"])[-limit:]
    sql = f"""SELECT {_COLUMNS} FROM audit_logs WHERE team_id = $1
              AND (seq, "timestamp") IN (SELECT * FROM unnest($2::bigint[], $3::timestamptz[]))"""  # noqa: S608 - see above
    places = [[row["seq"] for row in newest], [row["timestamp"] for row in newest]]
    return await _records(sql, [asked.args[0], *places], limit)


async def _by_month(asked: Asked, only: Filter, limit: int) -> list[AuditRecord]:
    found: list[AuditRecord] = []
    end: datetime | None = None
    places = [f"${len(asked.args) + nth}" for nth in (1, 2)]
    for begin in await partitions.begins("audit_logs"):
        is_outside = (only.until is not None and begin >= only.until) or (
            only.since is not None and end is not None and end <= only.since
        )
        if not is_outside:
            # Only the places are sorted, the rows of one page are read.
            within = f""""timestamp" >= {places[0]}
                         AND "timestamp" < coalesce({places[1]}::timestamptz, 'infinity')"""
            month = f"""WITH named AS MATERIALIZED (
                            SELECT seq, "timestamp" FROM audit_logs WHERE {asked.where} AND {within})
                        SELECT {_COLUMNS} FROM audit_logs
                        WHERE team_id = $1 AND {within} AND (seq, "timestamp") IN
                              (SELECT seq, "timestamp" FROM named ORDER BY seq DESC LIMIT {limit:d})"""  # noqa: S608 - see above
            found += await _records(month, [*asked.args, begin, end], limit)
        if len(found) >= limit:
            break
        end = begin
    else:
        return found
    # At the turn of a month a row may have been committed after some of the next month's.
    late = f"""SELECT {_COLUMNS} FROM (
                   SELECT {_COLUMNS}, tsv FROM audit_logs
                   WHERE {asked.but_words} AND "timestamp" < {places[0]} AND seq > {places[1]}
                   ORDER BY seq DESC LIMIT {WALKED}
               ) AS walked WHERE {asked.words}"""  # noqa: S608 - see above
    cut = sorted(one.seq for one in found)[-limit]
    found += await _records(late, [*asked.args, begin, cut], limit)
    return sorted(found, key=lambda one: one.seq, reverse=True)[:limit]


async def _records(sql: str, args: Sequence[Any], limit: int) -> list[AuditRecord]:
    rows = await db.fetch(f"{sql} ORDER BY seq DESC LIMIT {limit:d}", *args)
    return [db.as_struct(AuditRecord, row) for row in rows]


async def _place(team_id: str, time: datetime | None, slack: timedelta) -> int | None:
    """Where a time is in the trail, with the slack; None for no time, or one at the calendar's end."""
    if time is None:
        return None
    try:
        at = time + slack
    except OverflowError:
        return None
    place: int | None = await db.fetchval(_PLACE, team_id, at)
    return place


def _is_id(resource: str | None) -> bool:
    """Ids end in 26 characters; kinds of things are words, such as `item` and `api_key`."""
    return resource is not None and len(resource.rpartition("_")[2]) == ID_CHARACTERS
