"""Nouns of the audit trail."""

from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

# What an entry of `audit:<teamId>` is called.
RECORDED: Final = "audit_logs.recorded"


class AuditLog(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Who did what to which thing, when, from where, and what it changed.

    On the live channel `audit:<teamId>` the same document travels without `seq`: the entry's offset is its
    seq.
    """

    id: str
    team_id: str
    user_id: Annotated[str | None, Meta(description="who did it; null for the system")]
    action: Annotated[str, Meta(description="what happened, such as `inventory.adjusted`")]
    resource_type: Annotated[str, Meta(description="the kind of thing, such as `item`")]
    resource: Annotated[str, Meta(description="the id of the thing")]
    timestamp: Annotated[datetime, Meta(description="when")]
    metadata: Annotated[dict[str, Any], Meta(description="why: reasons, references")]
    changes: Annotated[dict[str, Any], Meta(description="field -> {before, after}; secrets never appear")]
    outcome: Annotated[str, Meta(description="`success`, `denied` or `failure`")]
    request_id: Annotated[str | None, Meta(description="the X-Request-Id of the request that did it")]
    session_id: Annotated[str | None, Meta(description="the session it was done in")]
    key_id: Annotated[str | None, Meta(description="the API key it was done with")]
    ip: Annotated[str | None, Meta(description="the address it came from")]
    user_agent: Annotated[str | None, Meta(description="the program it came from, as it calls itself")]


class AuditRecord(AuditLog, frozen=True, rename="camel", kw_only=True):
    """An audit row as it is read back, with its place in the team's trail."""

    seq: Annotated[int, Meta(description="dense per team, in commit order; the offset in `audit:<teamId>`")]


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which rows: every member that is given must match."""

    actor: str | None = None
    action: str | None = None
    resource: str | None = None
    outcome: str | None = None
    ip: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    query: str | None = None
