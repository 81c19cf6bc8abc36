"""/api/audit-logs: who did what, page by page, as a report, or all of it as a file."""

from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
from litestar import Controller, Request, Response, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from app.api.downloads import MEDIA, Download, attachment, require_http
from app.api.envelope import Cursor, Limit, Live, One, TeamId, live
from app.api.openapi import ALSO, Also
from app.pages import audit_reports
from app.pipeline.identity import BY_KEY, standing
from domain.actor import Actor
from domain.audit_logs import export as exports
from domain.audit_logs import reports
from domain.audit_logs import service as audit_logs
from domain.audit_logs.model import AuditRecord, Filter
from domain.errors import FieldError, Invalid
from domain.pages import LIMIT_DEFAULT

REPORT_FORMS: Final = get_args(reports.Form)
EXPORT_FORMS: Final = get_args(exports.Form)


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """An export as JSON: every row that matches, the oldest first."""

    success: Literal[True] = True
    data: list[AuditRecord]


# A report and an export are other things than a page; as files, they are no JSON.
OTHER_FORMS: Final = (
    Also(One[reports.Report]),
    Also(Exported),
    *(Also(None, media=MEDIA[form].partition(";")[0]) for form in ("csv", "ndjson", "html")),
)
_TIME: Final[dict[str, Any]] = {"max_length": 40, "schema_extra": {"format": "date-time"}}
By = Annotated[
    str | None, QueryParameter(name="actor", max_length=40, description="the id of whoever did it; or `me`")
]
Action = Annotated[str | None, QueryParameter(max_length=100, description="`inventory.adjusted`")]
AuditedResource = Annotated[str | None, QueryParameter(max_length=40, description="an id, or a kind: `item`")]
Outcome = Annotated[str | None, QueryParameter(max_length=20, description="`success`, `denied`, `failure`")]
Ip = Annotated[str | None, QueryParameter(max_length=64, description="the address it came from")]
Since = Annotated[
    str | None, QueryParameter(name="from", description="from this time on (RFC 3339)", **_TIME)
]
Until = Annotated[str | None, QueryParameter(name="to", description="before this time (RFC 3339)", **_TIME)]
Words = Annotated[str | None, QueryParameter(name="query", max_length=200, description="words in the row")]
AsReport = Annotated[bool, QueryParameter(description="a report instead: say `preset`")]
Preset = Annotated[
    reports.Preset | None, QueryParameter(description="which report; it looks at `from` and `to`")
]
AsExport = Annotated[
    bool, QueryParameter(description="all rows that match instead, as a file, the oldest first")
]
Form = Annotated[
    Literal["json", "csv", "html", "ndjson"],
    QueryParameter(
        name="format", description="of a report (json, csv, html) or an export (json, csv, ndjson)"
    ),
]


class AuditLogsController(Controller):
    path = "/api/audit-logs"
    tags = ("audit logs",)
    opt = BY_KEY

    @get("/", opt={ALSO: OTHER_FORMS})
    async def page(
        self,
        request: Request[Any, Any, Any],
        caller: NamedDependency[Actor],
        team_id: TeamId = None,
        by: By = None,
        action: Action = None,
        resource: AuditedResource = None,
        outcome: Outcome = None,
        ip: Ip = None,
        since: Since = None,
        until: Until = None,
        words: Words = None,
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
        report: AsReport = False,
        preset: Preset = None,
        export: AsExport = False,
        form: Form = "json",
    ) -> Response[Live[AuditRecord]]:
        """A team's audit trail, newest first; `position` is that of `audit:<teamId>`.

        With `report` it is a report, with `export` a file. Reading leaves a row in the trail, too.
        """
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
        team = caller.team(team_id)
        _require_one(report=report, preset=preset, export=export, form=form)
        if preset is not None:
            return _shown(await reports.make(caller, team, preset, only), form)
        if export:
            require_http(request)
            again = await standing(request)
            begun = await exports.begin(caller, team, only, form, again=again)  # type: ignore[arg-type]  # _require_one saw to it
            return Download(begun.parts(), begun.end, form=form, name=begun.name, within_s=exports.WITHIN_S)
        return Response(live(*await audit_logs.page(caller, team, only, limit=limit, cursor=cursor)))


def _require_one(*, report: bool, preset: str | None, export: bool, form: str) -> None:
    """Raises Invalid for what is asked for as two things at once, or in a form that it has not."""
    forms = REPORT_FORMS if report else EXPORT_FORMS if export else ("json",)
    wrong = {
        "preset": report != (preset is not None),
        "export": report and export,
        "format": form not in forms,
    }
    for name, is_wrong in wrong.items():
        if is_wrong:
            detail = (
                "A report is asked for with `report=true`, a `preset`, and `format` json, csv or html; "
                "an export with `export=true` and `format` json, csv or ndjson."
            )
            raise Invalid(detail, errors=(FieldError(f"/{name}", "invalid", detail),))


def _shown(report: reports.Report, form: str) -> Response[Any]:
    if form == "json":
        return Response(One(data=report))
    if form == "html":
        headers = {"Content-Security-Policy": audit_reports.POLICY}
        return Response(audit_reports.as_page(report), media_type=MEDIA[form], headers=headers)
    name = f"{report.preset}-{report.team_id}-{report.made_at:%Y%m%dT%H%M%SZ}.csv"
    return Response(audit_reports.as_csv(report), media_type=MEDIA[form], headers=attachment(name))


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
