"""`make routes`: the tables of docs/api.md, from the application's routes and what their handlers say."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from app.api.openapi import named_as_told
from app.api.router import scope
from app.config import Config
from app.main import create_app
from app.pages.mail_pages import PAGES
from domain import links
from tests.architecture import ROOT

PAGE: Final = ROOT / "docs" / "api.md"
BEGIN: Final = "<!-- made by `make routes` from here on -->"
# By tag; what has none is sorted by its path.
AREAS: Final = {
    "auth": "Signing in and staying signed in",
    "api keys": "API keys",
    "users": "Users",
    "teams": "Teams",
    "inventory": "Inventory",
    "audit logs": "Audit logs",
    "system": "The server",
    "/connection": "Live connections",
    "/emulation": "Live connections",
    "/api": "Documentation",
    "/auth": "Pages that mails lead to",
}
# What Litestar's own handlers do not say.
DOCUMENTS: Final = {
    "GET /api/docs": "The API, to read and to try.",
    "GET /api/docs/openapi.json": "The OpenAPI document.",
}
_ROW: Final = re.compile(r"^\| `([A-Z]+ /\S*)` \|", re.MULTILINE)


class Listed(NamedTuple):
    """One line of the page."""

    area: str
    path: str
    method: str
    who: str
    says: str


def there() -> list[Listed]:
    """Every route of the application, by area, path and method."""
    app = create_app(Config(database_url="postgresql://", redis_url="redis://", jwt_secret="x" * 32))
    order = list(dict.fromkeys(AREAS.values()))
    found = [
        _listed(method, route.path_format, handler)
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for method, (handler, _) in route.route_handler_map.items()
        if method != "OPTIONS"
    ]
    return sorted(found, key=lambda one: (order.index(one.area), one[1:]))


def listed(page: str) -> list[str]:
    """The routes that a page has: `GET /api/teams/{teamId}`."""
    return _ROW.findall(page.partition(BEGIN)[2])


def table() -> str:
    """The part of the page that is made."""
    return "\n".join(_lines()) + "\n"


def written(page: str) -> str:
    """The page with the tables as they are now."""
    return page.partition(BEGIN)[0] + BEGIN + "\n" + table()


def _lines() -> Iterator[str]:
    area = None
    for one in there():
        if one.area != area:
            area = one.area
            yield from ("", f"## {area}", "", "| route | who | |", "|---|---|---|")
        yield f"| `{one.method} {one.path}` | {one.who} | {one.says} |"


def _listed(method: str, path: str, handler: HTTPRouteHandler) -> Listed:
    [kind] = handler.resolve_tags() or [f"/{path.split('/')[1]}"]
    name = f"{method} {path}"
    page = PAGES.get(path.removeprefix(f"{links.PATH}/"))  # type: ignore[call-overload]  # not every path is one
    own = f"Page: {page.title}" if page is not None else DOCUMENTS.get(name)
    says = own or (inspect.getdoc(handler.fn) or "").split("\n")[0]
    return Listed(AREAS[kind], named_as_told(path), method, scope(handler), says.replace("|", "\\|"))


def main(page: Path = PAGE) -> None:
    page.write_text(written(page.read_text()))


if __name__ == "__main__":
    main()
