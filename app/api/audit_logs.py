"""/api/audit-logs: who did what."""

from datetime import datetime
from typing import Annotated

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from app.api.envelope import Cursor, Limit, Live, TeamId, live
from domain.actor import Actor
from domain.audit_logs import service as audit_logs
from domain.audit_logs.model import AuditRecord, Filter
from domain.pages import LIMIT_DEFAULT


class AuditLogsController(Controller):
    path = "/api/audit-logs"
    tags = ("audit logs",)

    @get("/")
    async def page(
        self,
        caller: NamedDependency[Actor],
        team_id: TeamId = None,
        by: Annotated[
            str | None, QueryParameter(name="actor", max_length=40, description="the id of whoever did it")
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
        ip: Annotated[str | None, QueryParameter(max_length=64)] = None,
        since: Annotated[
            datetime | None, QueryParameter(name="from", description="from this time on")
        ] = None,
        until: Annotated[datetime | None, QueryParameter(name="to", description="before this time")] = None,
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
            since=since,
            until=until,
            query=words,
        )
        return live(*await audit_logs.page(caller, caller.team(team_id), only, limit=limit, cursor=cursor))
