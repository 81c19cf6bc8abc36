"""How long audit rows are kept: so many days in each team, and without an end under a legal hold.

Owns    audit_policies
Says    audit_logs.retention_changed, audit_logs.held, audit_logs.released
Rules   rows go by whole months, those of a team once the month ended longer ago than the team keeps rows;
        what goes was sealed, and a checkpoint said that it may go before it went; under a hold nothing goes.

Rows are never deleted: a month's partition is dropped, or made anew from the rows that stay. Their hashes
stay in the seals, so every checkpoint can still be computed again (domain/audit_logs/verification.py).
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Annotated, Final

import asyncpg
import msgspec
from msgspec import Meta

from domain import db, jobs, partitions
from domain.actor import Actor
from domain.audit_logs import seals
from domain.audit_logs.apart import Apart
from domain.audit_logs.tree import Damaged
from domain.clock import now
from domain.errors import Invalid, NotFound
from domain.events import Change, Event, Resource
from domain.partitions import Partition
from domain.record import record

log = logging.getLogger("maycole.audit")

KEEP_DAYS: Final = 400
KEEP_DAYS_MIN: Final = 30
KEEP_DAYS_MAX: Final = 36_500
SWAP_TRIES: Final = 20
SWAP_AGAIN_AFTER_S: Final = 3
_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtext('audit retention'))"


class Retention(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """How long a team's audit rows are kept."""

    team_id: str
    keep_days: int = KEEP_DAYS
    held_since: Annotated[datetime | None, Meta(description="under a legal hold since; null for no hold")] = (
        None
    )


class _RetentionEvent(Event, frozen=True, kw_only=True):
    before: Retention
    after: Retention

    def resource(self) -> Resource:
        return Resource("retention", self.team_id)

    def changes(self) -> dict[str, Change]:
        if self.before.keep_days != self.after.keep_days:
            return {"keepDays": Change(self.before.keep_days, self.after.keep_days)}
        return {"held": Change(self.before.held_since is not None, self.after.held_since is not None)}


class RetentionChanged(_RetentionEvent, frozen=True, kw_only=True):
    """Audit rows are kept for another time from now on."""

    type = "audit_logs.retention_changed"


class Held(_RetentionEvent, frozen=True, kw_only=True):
    """There is a legal hold: audit rows are kept until it is taken away."""

    type = "audit_logs.held"


class Released(_RetentionEvent, frozen=True, kw_only=True):
    """The legal hold on audit rows was taken away."""

    type = "audit_logs.released"


async def of(team_id: str) -> Retention:
    """What holds for a team."""
    row = await db.fetchrow("SELECT * FROM audit_policies WHERE team_id = $1", team_id)
    return Retention(team_id=team_id) if row is None else db.as_struct(Retention, row)


async def keep(actor: Actor, team_id: str, days: int) -> Retention:
    """Keep rows so many days. Raises Invalid below KEEP_DAYS_MIN or above KEEP_DAYS_MAX, NotFound."""
    if not KEEP_DAYS_MIN <= days <= KEEP_DAYS_MAX:
        raise Invalid(f"Audit rows are kept from {KEEP_DAYS_MIN} to {KEEP_DAYS_MAX} days.")
    return await _change(actor, team_id, RetentionChanged, keep_days=days)


async def hold(actor: Actor, team_id: str) -> Retention:
    """Let nothing of a team's trail go. Raises NotFound."""
    return await _change(actor, team_id, Held, held_since=now())


async def release(actor: Actor, team_id: str) -> Retention:
    """Let go again what has had its time. Raises NotFound."""
    return await _change(actor, team_id, Released, held_since=None)


async def _change(actor: Actor, team_id: str, kind: type[_RetentionEvent], **fields: object) -> Retention:
    async with db.transaction() as unit:
        await unit.connection.execute(_LOCK)
        if not await db.fetchval("SELECT EXISTS (SELECT FROM teams WHERE id = $1)", team_id):
            raise NotFound.of("team")
        before = await of(team_id)
        after = msgspec.structs.replace(before, **fields)
        if (before.keep_days, before.held_since is None) == (after.keep_days, after.held_since is None):
            return before
        await db.execute(
            """INSERT INTO audit_policies (team_id, keep_days, held_since) VALUES ($1, $2, $3)
               ON CONFLICT (team_id) DO UPDATE SET keep_days = $2, held_since = $3""",
            team_id,
            after.keep_days,
            after.held_since,
        )
        await record(actor, kind(team_id=team_id, before=before, after=after))
    return after


@jobs.cron("audit.expire", every=timedelta(hours=6), within_s=partitions.COPIED_WITHIN_S + 600)
async def expire() -> None:
    """Let go of the months that have had their time.

    Rows of a team whose checkpoint cannot be made stay. Raises apart.Failed at the end where there is one.
    """
    apart = Apart("let go")
    for month in await partitions.ended("audit_logs", before=now() - timedelta(days=KEEP_DAYS_MIN)):
        counted = await _count(month)
        going = await _may_go(month, counted)
        for team_id in going:
            with apart.team(team_id):
                await _announce(team_id, counted[team_id].last)
        if going:
            await _let_go(month)
    apart.end()


class _Rows(msgspec.Struct, frozen=True):
    """How many rows a team has in a month, and the last one's seq."""

    count: int
    last: int


async def _count(month: Partition) -> dict[str, _Rows]:
    """What teams have rows in this month: all of it is read."""
    async with db.maintenance(within_s=partitions.COPIED_WITHIN_S) as unit:
        rows = await unit.connection.fetch(
            f"SELECT team_id, count(*), max(seq) AS last FROM {month.name} GROUP BY team_id",  # noqa: S608 - a name of ours
            timeout=partitions.COPIED_WITHIN_S,
        )
    return {row["team_id"]: db.as_struct(_Rows, row) for row in rows}


async def _may_go(month: Partition, teams: Iterable[str]) -> list[str]:
    """Those of the teams whose rows of this month have had their time."""
    rows = await db.fetch(
        """SELECT t.team_id FROM unnest($1::text[]) AS t (team_id) LEFT JOIN audit_policies p USING (team_id)
            WHERE p.held_since IS NULL
              AND $2 <= $3::timestamptz - make_interval(days => coalesce(p.keep_days, $4))
            ORDER BY t.team_id""",
        list(teams),
        month.end,
        now(),
        KEEP_DAYS,
    )
    return [row["team_id"] for row in rows]


async def _announce(team_id: str, last: int) -> None:
    """A checkpoint says that rows up to `last` may be gone, once all of them are sealed."""
    while (newest := await seals.newest(team_id)) is None or newest.to_seq < last:
        if not await seals.seal(team_id):
            raise Damaged(f"{team_id} has rows up to {last} that cannot be sealed")
    if newest.kept_from <= last:
        await seals.seal(team_id, kept_from=last + 1)


async def _let_go(month: Partition) -> None:
    """Drop the month, or put a copy of the rows that stay in its place: others read and write meanwhile."""
    made = None
    async with db.maintenance(within_s=partitions.COPIED_WITHIN_S):
        counted = await _count(month)
        going = await _announced(month, counted)
        if not going:
            return
        if len(going) < len(counted):
            made = await partitions.copy(month, "NOT team_id = ANY($1)", going)
    for tries_left in reversed(range(SWAP_TRIES)):
        try:
            await _swap(month, made, counted, going)
        except asyncpg.LockNotAvailableError:
            if not tries_left:
                raise
            await asyncio.sleep(SWAP_AGAIN_AFTER_S)
        else:
            return


async def _announced(month: Partition, counted: Mapping[str, _Rows]) -> list[str]:
    """Those that may go and whose checkpoint says so."""
    return [
        team_id
        for team_id in await _may_go(month, counted)
        if (newest := await seals.newest(team_id)) is not None and newest.kept_from > counted[team_id].last
    ]


async def _swap(month: Partition, made: int | None, counted: Mapping[str, _Rows], going: list[str]) -> None:
    """The moment in which rows go, if all is as it was when they were copied; else the next run does it."""
    async with db.maintenance(within_s=partitions.COPIED_WITHIN_S) as unit:
        same = await _count(month) == counted
        await unit.connection.execute(_LOCK)  # no hold comes in between from here on
        if not same or await _announced(month, counted) != going:
            log.warning("%s: what is kept of it has changed meanwhile, so it stays until later", month.name)
            await partitions.discard(month)
            return
        if made is None:
            await partitions.drop(month)
        else:
            await partitions.swap(month, made)
    went = sum(counted[team_id].count for team_id in going)
    stay = sum(rows.count for rows in counted.values()) - went
    log.info("%s: %d audit rows of %d teams went, %d stay", month.name, went, len(going), stay)
