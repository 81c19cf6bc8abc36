"""/api/health and /api/version: how the server is, and which one it is."""

from importlib.metadata import version as package_version
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from litestar import Controller, Request, Response, get
from msgspec import Meta

from app.api.envelope import One
from app.config import Config
from app.health import Checks, Health
from app.pipeline.policies import NOT_LIMITED

API_VERSION: Final = "2026-11-22"
SCHEMA: Final = max(path.stem for path in (Path(__file__).parents[2] / "migrations").glob("maycole_*.py"))


class Version(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Which server this is."""

    version: Annotated[str, Meta(description="of the package")]
    api_version: Annotated[str, Meta(description="the newest version of the API")]
    schema: Annotated[str, Meta(description="the newest migration this version knows")]


class SystemController(Controller):
    path = "/api"
    tags = ("system",)

    @get("/health", opt=NOT_LIMITED)
    async def health(self, request: Request[Any, Any, Any]) -> Response[One[Health]]:
        """How the server is, and what is wrong with it; 503 when it is down."""
        return _answer(await _health(request))

    @get("/health/live", opt=NOT_LIMITED)
    async def live(self) -> Response[One[Health]]:
        """Whether the process answers at all."""
        return _answer(Health(status="ok", checks={}))

    @get("/health/ready", opt=NOT_LIMITED)
    async def ready(self, request: Request[Any, Any, Any]) -> Response[One[Health]]:
        """Whether to send requests here: 503 without a database, or while it stops."""
        return _answer(await _health(request))

    @get("/version", opt=NOT_LIMITED)
    async def version(self) -> One[Version]:
        """Which server this is."""
        return One(data=Version(version=package_version("maycole"), api_version=API_VERSION, schema=SCHEMA))


def _answer(health: Health) -> Response[One[Health]]:
    return Response(One(data=health), status_code=503 if health.status == "down" else 200)


async def _health(request: Request[Any, Any, Any]) -> Health:
    checks: Checks = request.app.state.checks
    config: Config = request.app.state.config
    configured = {f"oauth.{name}": there for name, there in request.app.state.oauth.configured.items()}
    configured |= {"pwned": config.breaches_asked, "s3": config.bucket is not None}
    return msgspec.structs.replace(await checks.health(), configured=configured)
