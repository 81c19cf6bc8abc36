"""How long audit rows are kept: so many days in each team, and without an end under a legal hold.

Owns    audit_policies
Says    audit_logs.retention_changed, audit_logs.held, audit_logs.released
Rules   rows go by whole months, those of a team once the month ended longer ago than the team keeps rows;
        what goes was sealed, and a checkpoint said that it may go before it went; under a hold nothing goes.

Rows are never deleted: a month's partition is dropped, or made anew from the rows that stay. Their hashes
stay in the seals, so every checkpoint can still be computed again (domain/audit_logs/verification.py).
"""

import logging
from datetime import datetime, timedelta
from typing import Annotated, Final

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


@jobs.cron("audit.expire", every=timedelta(hours=6), within_s=600)
async def expire() -> None:
    """Let go of the months that have had their time.

    Rows of a team whose checkpoint cannot be made stay. Raises apart.Failed at the end where there is one.
    """
    apart = Apart("let go")
    for month in await partitions.ended("audit_logs", before=now() - timedelta(days=KEEP_DAYS_MIN)):
        going = await _going(month)
        for team_id, last in going.items():
            with apart.team(team_id):
                await _announce(team_id, last)
        if going:
            await _let_go(month)
    apart.end()


async def _going(month: Partition) -> dict[str, int]:
    """The teams whose rows of this month have had their time, and the last row of each."""
    rows = await db.fetch(
        """SELECT r.team_id, r.last
            FROM (SELECT team_id, max(seq) AS last FROM audit_logs
                  WHERE "timestamp" >= $4 AND "timestamp" < $1 GROUP BY team_id) r
            LEFT JOIN audit_policies p USING (team_id)
            WHERE p.held_since IS NULL
              AND $1 <= $2::timestamptz - make_interval(days => coalesce(p.keep_days, $3))""",
        month.end,
        now(),
        KEEP_DAYS,
        month.begin,
    )
    return {row["team_id"]: row["last"] for row in rows}


async def _announce(team_id: str, last: int) -> None:
    """A checkpoint says that rows up to `last` may be gone, once all of them are sealed."""
    while (newest := await seals.newest(team_id)) is None or newest.to_seq < last:
        if not await seals.seal(team_id):
            raise Damaged(f"{team_id} has rows up to {last} that cannot be sealed")
    if newest.kept_from <= last:
        await seals.seal(team_id, kept_from=last + 1)


async def _let_go(month: Partition) -> None:
    """Drop the month, or make it anew from the rows that stay: what holds is looked at once more."""
    async with db.maintenance() as unit:
        await unit.connection.execute(_LOCK)
        await unit.connection.execute(f"SET LOCAL statement_timeout = '{partitions.REMADE_WITHIN_S}s'")
        going = [
            team_id
            for team_id, last in (await _going(month)).items()
            if (newest := await seals.newest(team_id)) is not None and newest.kept_from > last
        ]
        if not going:
            return
        stays, goes = await unit.connection.fetchrow(
            f"""SELECT count(*) FILTER (WHERE NOT team_id = ANY($1)),
                       count(*) FILTER (WHERE team_id = ANY($1)) FROM {month.name}""",  # noqa: S608 - a name of ours
            going,
            timeout=partitions.REMADE_WITHIN_S,
        )
        if stays:
            await partitions.remake(month, "NOT team_id = ANY($1)", going)
        else:
            await partitions.drop(month)
        log.info("%s: %d audit rows of %d teams went, %d stay", month.name, goes, len(going), stays)
