"""What is on its way out: `Deprecation` (RFC 9745), `Sunset` (RFC 8594), and a link to what is instead.

A route or a version is marked here at least half a year before it goes; docs/versions.md is the promise.
"""

from datetime import UTC, date, datetime
from email.utils import format_datetime
from typing import Any, Final

import msgspec

from app.pipeline.versions import chosen


class Deprecated(msgspec.Struct, frozen=True, kw_only=True):
    """Since when it should not be used, from when on it may be gone, and where that is explained."""

    since: date
    sunset: date | None = None
    link: str

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Dates begin at midnight, UTC."""
        said = [
            (b"deprecation", f"@{int(_midnight(self.since).timestamp())}"),
            (b"link", f'<{self.link}>; rel="deprecation"; type="text/html"'),
        ]
        if self.sunset is not None:
            said.append((b"sunset", format_datetime(_midnight(self.sunset), usegmt=True)))
            said.append((b"link", f'<{self.link}>; rel="sunset"; type="text/html"'))
        return [(name, value.encode()) for name, value in said]


# By method and path, as in the OpenAPI document but with our names: ("GET", "/api/teams/{team_id}").
ROUTES: Final[dict[tuple[str, str], Deprecated]] = {}
VERSIONS: Final[dict[str, Deprecated]] = {}


def headers(scope: Any) -> list[tuple[bytes, bytes]]:
    """What an answer to this request says of it; nothing of what goes on as it is."""
    if not ROUTES and not VERSIONS:
        return []
    route = ROUTES.get((scope["method"], scope.get("path_template", "")))
    version = VERSIONS.get(chosen(scope))
    return [header for marked in (route, version) if marked is not None for header in marked.headers()]


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
