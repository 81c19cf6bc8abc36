"""/api/audit-logs: who did what."""

from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from app.api.envelope import Cursor, Limit, Live, TeamId, live
from app.pipeline.identity import BY_KEY
from domain.actor import Actor
from domain.audit_logs import service as audit_logs
from domain.audit_logs.model import AuditRecord, Filter
from domain.errors import FieldError, Invalid
from domain.pages import LIMIT_DEFAULT

_TIME: Final[dict[str, Any]] = {"max_length": 40, "schema_extra": {"format": "date-time"}}


class AuditLogsController(Controller):
    path = "/api/audit-logs"
    tags = ("audit logs",)
    opt = BY_KEY

    @get("/")
    async def page(
        self,
        caller: NamedDependency[Actor],
        team_id: TeamId = None,
        by: Annotated[
            str | None,
            QueryParameter(name="actor", max_length=40, description="the id of whoever did it; or `me`"),
        ] = None,
        action: Annotated[
            str | None, QueryParameter(max_length=100, description="`inventory.adjusted`")
        ] = None,
        resource: Annotated[
            str | None, QueryParameter(max_length=40, description="an id, or a kind: `item`")
        ] = None,
        outcome: Annotated[
            str | None, QueryParameter(max_length=20, description="`success`, `denied`, `failure`")
        ] = None,
        ip: Annotated[
            str | None, QueryParameter(max_length=64, description="the address it came from")
        ] = None,
        since: Annotated[
            str | None, QueryParameter(name="from", description="from this time on (RFC 3339)", **_TIME)
        ] = None,
        until: Annotated[
            str | None, QueryParameter(name="to", description="before this time (RFC 3339)", **_TIME)
        ] = None,
        words: Annotated[
            str | None, QueryParameter(name="query", max_length=200, description="words in the row")
        ] = None,
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
    ) -> Live[AuditRecord]:
        """A team's audit trail, newest first; `position` is that of `audit:<teamId>`."""
        only = Filter(
            actor=caller.user if by == "me" else by,
            action=action,
            resource=resource,
            outcome=outcome,
            ip=ip,
            since=_time("from", since),
            until=_time("to", until),
            query=words,
        )
        return live(*await audit_logs.page(caller, caller.team(team_id), only, limit=limit, cursor=cursor))


def _time(name: str, text: str | None) -> datetime | None:
    """A time with its offset, in UTC.

    Raises Invalid for anything else: Litestar would take numbers for seconds, and times without an offset,
    which Postgres then refuses; the first and the last hours of the calendar have no UTC.
    """
    if text is None:
        return None
    try:
        time: datetime = msgspec.convert(text, Annotated[datetime, msgspec.Meta(tz=True)])
        return time.astimezone(UTC)
    except (msgspec.ValidationError, OverflowError) as error:
        detail = "This takes a time such as 2026-11-22T12:00:00Z (write a `+` as `%2B`)."
        raise Invalid(detail, errors=(FieldError(f"/{name}", "invalid", detail),)) from error
