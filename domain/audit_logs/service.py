"""Audit logs: who did what, read back. Written by domain/record.py alone.

Owns    audit_logs
Rules   a row is never changed; `seq` is dense per team and in commit order; reading leaves a row of its own.
"""

from domain import channels, pages, partitions, streams
from domain.actor import Actor
from domain.audit_logs import reading, search
from domain.audit_logs.model import AuditRecord, Filter
from domain.pages import Page
from domain.teams import policy


async def page(
    actor: Actor, team_id: str, only: Filter, *, limit: int, cursor: str | None
) -> tuple[Page[AuditRecord], streams.Head]:
    """One page of a team's trail, newest first, and the position of `audit:<teamId>` that it is true for.

    That it was read comes after that position (domain/audit_logs/reading.py).
    """
    await policy.require(actor, team_id, "audit:read")
    scope = f"audit {actor.user} {team_id} {only}"
    before = pages.unseal(cursor, scope=scope)[0] if cursor else None
    async with streams.snapshot(channels.audit(team_id)) as position:
        records = await search.newest(team_id, only, before=before, limit=limit + 1)
    found = pages.cut(records, limit, scope=scope, key=lambda record: [record.seq])
    if cursor is None:
        await reading.was_read(actor, team_id, only, len(found.items))
    return found, position


async def roll_partitions() -> None:
    """Make the coming months' partitions; nothing is dropped here."""
    await partitions.roll("audit_logs", by="month")
