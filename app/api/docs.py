"""/api/docs: the API, readable and tryable, served by ourselves; no page asks another host for anything.

    /api/docs         /api/docs/openapi.json     REST (app/api/openapi.py)
    /api/docs/live    /api/docs/asyncapi.json    live channels (app/api/asyncapi.py, app/api/live_page.py)

Swagger UI's files are those of the npm package swagger-ui-dist 5.35.0 (Apache-2.0), in app/api/swagger/.
"""

from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from litestar import MediaType, Request, Response, Router, get
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.routes import BaseRoute
from litestar.types import ControllerRouterHandler

from app.api import asyncapi, live_page
from app.api.openapi import Json, document
from app.pages.served import served
from app.pipeline.policies import NOT_LIMITED
from domain.versions import NEWEST

PATH: Final = "/api/docs"
_EVERY_OTHER: Final = "/{path:str}"
_FILES: Final = Path(__file__).parent / "swagger"
_PAGE: Final = b"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Maycole API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/api/docs/files/swagger-ui.css">
</head>
<body>
<div id="docs"></div>
<script src="/api/docs/files/swagger-ui-bundle.js"></script>
<script src="/api/docs/files/start.js"></script>
</body>
</html>
"""


class SwaggerPage(OpenAPIRenderPlugin):
    """The page; its scripts are files, so that the content security policy can forbid inline ones."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        return _PAGE


class Document(JsonRenderPlugin):
    """The document, finished once (app/api/openapi.py)."""

    _finished: bytes | None = None

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        if self._finished is None:
            self._finished = msgspec.json.encode(document(request.app, openapi_schema))
        return self._finished


class Documentation(Router):
    """Only what we put there: Litestar adds a handler for every other address, which answers 404 as HTML.

    Without that one the router finds nothing, which is a problem document like any other 404.
    """

    def register(self, value: ControllerRouterHandler) -> list[BaseRoute]:
        if isinstance(value, HTTPRouteHandler) and _EVERY_OTHER in value.paths:
            return []
        return super().register(value)


def openapi() -> OpenAPIConfig:
    """The OpenAPI document, at /api/docs/openapi.json, and its page."""
    return OpenAPIConfig(
        title="Maycole",
        version=NEWEST,
        description="REST for a real-time application server. What it says over open connections is at "
        f"[{PATH}/live]({PATH}/live).",
        openapi_router=Documentation(PATH, route_handlers=[], include_in_schema=False, opt=NOT_LIMITED),
        render_plugins=[SwaggerPage(path="/"), Document(path="/openapi.json")],
        components=Components(
            security_schemes={
                "bearer": SecurityScheme(type="http", scheme="bearer", description="an access token"),
                "apiKey": SecurityScheme(
                    type="http", scheme="bearer", description="an API key, which may what its scopes say"
                ),
            }
        ),
        security=[{"bearer": []}],
    )


@get(f"{PATH}/asyncapi.json", opt=NOT_LIMITED, include_in_schema=False)
async def asyncapi_document(request: Request[Any, Any, Any]) -> Response[bytes]:
    """The AsyncAPI document."""
    return Response(msgspec.json.encode(_live(_host(request))), media_type=MediaType.JSON)


@get(f"{PATH}/live", opt=NOT_LIMITED, include_in_schema=False)
async def live_channels(request: Request[Any, Any, Any]) -> Response[bytes]:
    """The AsyncAPI document, for people."""
    return Response(live_page.page(_live(_host(request))), media_type=MediaType.HTML)


def _host(request: Request[Any, Any, Any]) -> str:
    """Where clients reach the server, as far as it was told."""
    public: str | None = request.app.state.config.public_url
    return urlsplit(public).netloc if public else "127.0.0.1:8000"


@cache
def _live(host: str) -> Json:
    return asyncapi.document(host)


files = served(_FILES, f"{PATH}/files")
