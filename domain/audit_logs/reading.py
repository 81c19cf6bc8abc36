"""Reading is in the trail itself: who looked at what, who took a copy of it.

A page that is no continuation leaves a row with its filter and how many rows it showed; the same caller with
the same filter leaves the next one after AGAIN_AFTER at the earliest, so that a screen that looks again with
every change does not fill the trail with its own looking.
"""

from datetime import timedelta
from typing import Any, Final

import msgspec

from domain import db
from domain.actor import Actor
from domain.audit_logs.model import Filter
from domain.clock import now
from domain.events import Event, Resource
from domain.record import record

AGAIN_AFTER: Final = timedelta(minutes=5)
_LOOKED_AT: Final = 200


class _AboutReading(Event, frozen=True, kw_only=True):
    """In the trail that was read, and nowhere else."""

    what: dict[str, Any]

    def resource(self) -> Resource:
        return Resource("audit_log", self.team_id)

    def metadata(self) -> dict[str, Any]:
        return self.what


class AuditLogsRead(_AboutReading, frozen=True, kw_only=True):
    """Somebody read the team's audit trail."""

    type = "audit_logs.read"


class AuditLogsReported(_AboutReading, frozen=True, kw_only=True):
    """Somebody had a report made of the team's audit trail."""

    type = "audit_logs.reported"


class ExportStarted(_AboutReading, frozen=True, kw_only=True):
    """Somebody began to take a copy of the team's audit trail."""

    type = "audit_logs.export_started"


class AuditLogsExported(_AboutReading, frozen=True, kw_only=True):
    """The copy of the team's audit trail is complete."""

    type = "audit_logs.exported"


class ExportBroken(_AboutReading, frozen=True, kw_only=True):
    """The copy of the team's audit trail was broken off; what was sent of it was sent."""

    type = "audit_logs.export_broken"
    outcome = "failure"


def told(only: Filter) -> dict[str, Any]:
    """The filter as a row of the trail has it: what was given, by the names clients use."""
    given = {("from" if k == "since" else "to" if k == "until" else k): v for k, v in _members(only)}
    return msgspec.to_builtins(given)  # type: ignore[no-any-return]  # times as text


def _members(only: Filter) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in msgspec.structs.asdict(only).items() if value is not None]


async def was_read(actor: Actor, team_id: str, only: Filter, count: int) -> None:
    """Leave a row for this, unless the same caller has left one for the same just now."""
    await _leave_a_row(actor, team_id, told(only), count)


async def row_was_read(actor: Actor, team_id: str, row_id: str) -> None:
    """The same for one row, asked for by its id."""
    await _leave_a_row(actor, team_id, {"id": row_id}, 1)


async def _leave_a_row(actor: Actor, team_id: str, what: dict[str, Any], count: int) -> None:
    if not await _just_now(actor, team_id, what):
        async with db.transaction():
            await record(actor, AuditLogsRead(team_id=team_id, what={"filter": what, "count": count}))


async def _just_now(actor: Actor, team_id: str, what: dict[str, Any]) -> bool:
    found: bool = await db.fetchval(
        """SELECT EXISTS (
               SELECT FROM (
                   SELECT user_id, key_id, session_id, metadata FROM audit_logs
                   WHERE team_id = $1 AND action = $2 AND "timestamp" > $3
                   ORDER BY seq DESC LIMIT $4
               ) AS latest
               WHERE user_id = $5 AND key_id IS NOT DISTINCT FROM $6 AND session_id IS NOT DISTINCT FROM $7
                 AND metadata -> 'filter' = $8)""",
        team_id,
        AuditLogsRead.type,
        now() - AGAIN_AFTER,
        _LOOKED_AT,
        actor.user_id,
        actor.key_id,
        actor.session_id,
        what,
    )
    return found
