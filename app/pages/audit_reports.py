"""Reports of the audit trail as a file of lines, and as a page that prints.

The page has no script and asks for nothing: its style is in it, and its policy names that style by its hash.
"""

import base64
import hashlib
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from domain import csv_text
from domain.audit_logs.reports import TITLES, KeyAccess, MemberAccess, Report

_STYLE: Final = """
body { font: 14px/1.4 system-ui, sans-serif; margin: 2rem; color: #111; background: #fff }
table { border-collapse: collapse; width: 100% }
th, td { border: 1px solid #bbb; padding: .25rem .5rem; text-align: left; vertical-align: top }
td { overflow-wrap: anywhere }
th { background: #eee }
@page { size: A4 landscape; margin: 12mm }
@media print {
    body { margin: 0; font-size: 9px }
    thead { display: table-header-group }
    tr { break-inside: avoid }
}
"""
POLICY: Final = (
    f"default-src 'none'; img-src data:; "
    f"style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# What of a row people read; the whole of it is in the JSON.
_OF_A_ROW: Final = (
    "seq", "timestamp", "action", "outcome", "userId", "resourceType", "resource", "changes", "metadata",
    "ip", "keyId", "requestId",
)  # fmt: skip
_template: Final = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
).get_template("report.html")


class Table(msgspec.Struct, frozen=True):
    """Rows of text under names."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]


def tables(report: Report) -> list[Table]:
    """What is in a report, as people read it."""
    rows = Table("What happened", _OF_A_ROW, _cells(report.rows, _OF_A_ROW))
    if report.preset != "access":
        return [rows]
    members, keys = _names(MemberAccess), _names(KeyAccess)
    return [
        Table("Members", members, _cells(report.members, members)),
        Table("API keys of the team", keys, _cells(report.keys, keys)),
        rows,
    ]


def as_csv(report: Report) -> bytes:
    """One table: the first column says which one a line is of, a column that it lacks is empty."""
    found = tables(report)
    columns = tuple(dict.fromkeys(column for table in found for column in table.columns))
    lines: list[tuple[str, ...]] = [("table", *columns)]
    for table in found:
        for row in table.rows:
            cells = dict(zip(table.columns, row, strict=True))
            lines.append((table.title, *(cells.get(column, "") for column in columns)))
    return csv_text.lines(lines)


def as_page(report: Report) -> bytes:
    """The page; everything in it is text."""
    title = TITLES[report.preset]
    about = [
        f"Team {report.team_id}",
        f"From {_text(report.since) or 'the beginning'} to {_text(report.until) or 'now'}",
        f"Made at {_text(report.made_at)}",
        *(["There are more rows than a report takes: ask for less time."] if report.has_more else []),
    ]
    return _template.render(
        title=title,
        style=Markup(_STYLE),  # noqa: S704 - a text of ours
        about=about,
        tables=tables(report),
    ).encode()


def _names(kind: type[msgspec.Struct]) -> tuple[str, ...]:
    return tuple(field.encode_name for field in msgspec.structs.fields(kind))


def _cells(things: Any, columns: tuple[str, ...]) -> list[tuple[str, ...]]:
    found = (msgspec.to_builtins(thing) for thing in things)
    return [tuple(_text(one[column]) for column in columns) for one in found]


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return " ".join(value)
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
