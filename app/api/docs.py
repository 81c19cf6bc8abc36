"""/api/docs: the API, readable and tryable, served by ourselves; the page asks no other host for anything.

Swagger UI's files are those of the npm package swagger-ui-dist 5.35.0 (Apache-2.0), in app/api/swagger/.
"""

from pathlib import Path
from typing import Any, Final

import msgspec
from litestar import Request
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.static_files import create_static_files_router

from app.api.openapi import document
from app.api.system import API_VERSION

PATH: Final = "/api/docs"
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


def openapi() -> OpenAPIConfig:
    """The OpenAPI document, at /api/docs/openapi.json, and its page."""
    return OpenAPIConfig(
        title="Maycole",
        version=API_VERSION,
        description="REST for a real-time application server. Live channels are at `/connection/websocket`.",
        path=PATH,
        render_plugins=[SwaggerPage(path="/"), Document(path="/openapi.json")],
        components=Components(
            security_schemes={
                "bearer": SecurityScheme(type="http", scheme="bearer", description="an access token")
            }
        ),
        security=[{"bearer": []}],
    )


files = create_static_files_router(
    path=f"{PATH}/files", directories=[_FILES], name="docs-files", include_in_schema=False
)
