"""Audit logs: who did what, read back. Written by domain/record.py alone.

Owns    audit_logs
Rules   a row is never changed; `seq` is dense per team and in commit order.
"""

from domain import channels, db, pages, partitions, streams
from domain.actor import Actor
from domain.audit_logs.model import AuditRecord, Filter
from domain.pages import Page
from domain.teams import policy

_COLUMNS = ", ".join(AuditRecord.__struct_fields__)


async def page(
    actor: Actor, team_id: str, only: Filter, *, limit: int, cursor: str | None
) -> tuple[Page[AuditRecord], streams.Head]:
    """One page of a team's trail, newest first, and the position of `audit:<teamId>` that it is true for."""
    await policy.require(actor, team_id, "audit:read")
    scope = f"audit {actor.user} {team_id} {only}"
    before = pages.unseal(cursor, scope=scope)[0] if cursor else None
    async with streams.snapshot(channels.audit(team_id)) as position:
        rows = await db.fetch(
            f"""SELECT {_COLUMNS} FROM audit_logs
               WHERE team_id = $1 AND ($2::bigint IS NULL OR seq < $2)
                 AND ($3::text IS NULL OR user_id = $3)
                 AND ($4::text IS NULL OR action = $4)
                 AND ($5::text IS NULL OR {"resource" if _is_id(only.resource) else "resource_type"} = $5)
                 AND ($6::text IS NULL OR outcome = $6)
                 AND ($7::text IS NULL OR ip = $7)
                 AND ($8::timestamptz IS NULL OR timestamp >= $8)
                 AND ($9::timestamptz IS NULL OR timestamp < $9)
                 AND ($10::text IS NULL OR tsv @@ websearch_to_tsquery('simple', $10))
               ORDER BY seq DESC LIMIT $11""",  # noqa: S608 - names of ours
            team_id,
            before,
            only.actor,
            only.action,
            only.resource,
            only.outcome,
            only.ip,
            only.since,
            only.until,
            only.query,
            limit + 1,
        )
    records = [db.as_struct(AuditRecord, row) for row in rows]
    return pages.cut(records, limit, scope=scope, key=lambda record: [record.seq]), position


def _is_id(resource: str | None) -> bool:
    """Ids have an underscore, kinds of things have none."""
    return resource is not None and "_" in resource


async def roll_partitions() -> None:
    """Make the coming months' partitions; nothing is dropped here."""
    await partitions.roll("audit_logs", by="month")
