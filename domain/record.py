"""record(actor, event): the only way to say that something happened.

It collects. Just before COMMIT one statement writes, for everything collected: the entries of each channel
that an event is news for, the audit rows, and the entries of the teams' audit channels; after COMMIT they are
announced. An audit row's `seq` is its offset in `audit:<teamId>`: dense per team, in commit order.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import asyncpg
import msgspec

from domain import behalf, channels, db, events, ids, measures, streams
from domain.actor import Actor
from domain.audit_logs.model import RECORDED, AuditLog
from domain.clock import now
from domain.events import Event
from domain.streams import Draft, Entry


async def record(actor: Actor, event: Event) -> None:
    """Say that `event` happened, by `actor`, in the transaction that is under way.

    Raises RuntimeError outside a transaction: a fact without its commit is not a fact.
    """
    unit = db.current()
    if not unit.facts:
        unit.before_commit.append(partial(_write, unit))
    unit.facts.append((actor, event))


# The columns of audit_logs that come from AuditLog. Rows are JSON, each with the place of its entry as `seq`.
_COLUMNS = AuditLog.__struct_fields__
_AUDIT = f"""audit AS (
    INSERT INTO audit_logs (seq, {", ".join(_COLUMNS)})
    SELECT n."offset", {", ".join(f"a.{column}" for column in _COLUMNS)}
    FROM json_populate_recordset(NULL::audit_logs, $7::json) AS a JOIN numbered n ON n.nth = a.seq
)"""  # noqa: S608 - names of ours
# The first parameter that a statement's own CTEs may have.
OWN_FROM = 8


def statement(*, first: str = "", where: str = "true") -> str:
    """The SQL of `write`; CTEs and a condition before it as in streams.statement."""
    return streams.statement(_AUDIT, first=first, where=where)


_WRITE = statement()


class Told(NamedTuple):
    """A fact in words: an entry for each channel that hears of it; the last tells of the row, if any."""

    drafts: list[Draft]
    row: AuditLog | None


def told(actor: Actor, event: Event) -> Told:
    """On behalf of the request under way, at this moment."""
    drafts, row = _news(actor, event), None
    if event.in_the_trail:
        row = _audit_row(actor, event)
        drafts.append(_audit_news(row))
    return Told(drafts, row)


async def write(
    connection: asyncpg.Connection, facts: Sequence[Told], *, sql: str = _WRITE, own: Sequence[object] = ()
) -> list[Entry]:
    """The entries and audit rows of these facts, in their order, in one statement, the last before COMMIT.

    `own` are the parameters of `sql` from OWN_FROM on. Nothing is returned where its condition did not hold.
    """
    drafts: list[Draft] = []
    rows: list[dict[str, Any]] = []
    for fact in facts:
        drafts += fact.drafts
        if fact.row is not None:
            # Its entry is the last one so far; unnest … WITH ORDINALITY counts from 1.
            rows.append({"seq": len(drafts), **msgspec.structs.asdict(fact.row)})
    beside = [msgspec.json.encode(rows).decode(), *own]
    return await streams.append(connection, drafts, sql=sql, beside=beside)


def announce(facts: Sequence[Told], entries: Sequence[Entry]) -> None:
    """Right after the commit of these facts: their entries to whoever listens, and that there are rows."""
    streams.announce(entries)
    for fact in facts:
        if fact.row is not None:
            measures.count("audit_rows", fact.row.action, fact.row.outcome)


async def _write(unit: db.Unit) -> None:
    facts = [told(actor, event) for actor, event in unit.facts]
    entries = await write(unit.connection, facts)
    unit.written += entries
    unit.after_commit.append(partial(announce, facts, entries))


def _news(actor: Actor, event: Event) -> list[Draft]:
    if not event.channels():
        return []
    event_id = ids.new("evt")
    data = events.encode(event_id, type(event).type, actor.user_id, _request_id(actor), event.news())
    return [Draft(channel, event_id, type(event).type, data) for channel in event.channels()]


def _audit_row(actor: Actor, event: Event) -> AuditLog:
    resource = event.resource()
    return AuditLog(
        id=ids.new("aud"),
        team_id=event.team_id,
        user_id=actor.user_id,
        action=type(event).type,
        resource_type=resource.type,
        resource=resource.id,
        timestamp=now(),
        metadata=event.metadata(),
        changes=event.changes(),
        outcome=type(event).outcome,
        request_id=_request_id(actor),
        session_id=actor.session_id,
        key_id=actor.key_id,
        ip=actor.ip,
        user_agent=actor.user_agent,
    )


def _request_id(actor: Actor) -> str | None:
    return actor.request_id or behalf.request_id()


def _audit_news(row: AuditLog) -> Draft:
    data = events.encode(row.id, RECORDED, row.user_id, row.request_id, row)
    return Draft(channels.audit(row.team_id), row.id, RECORDED, data)
