"""/api/health and /api/version: how the server is, and which one it is."""

import asyncio
import re
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from litestar import Controller, Request, Response, get
from msgspec import Meta

from app.api.envelope import One
from app.commit import commit
from app.config import Config
from app.health import Checks, Health
from app.pipeline.policies import NOT_LIMITED
from domain import db, versions

ASK_WITHIN_S: Final = 2.0
SCHEMA: Final = max(path.stem for path in (Path(__file__).parents[2] / "migrations").glob("maycole_*.py"))
_schema: str | None = None  # of the database, when it was asked last
_MIGRATED: Final = "SELECT max(name) FROM migration WHERE app_name = 'maycole'"


class Version(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Which server this is."""

    version: Annotated[str, Meta(description="of the package")]
    commit: Annotated[str, Meta(description="what it was built from; `unknown` where nobody can tell")]
    api_version: Annotated[str, Meta(description="the newest version of the API")]
    api_versions: Annotated[list[str], Meta(description="versions that `API-Version` may name, oldest first")]
    schema: Annotated[str, Meta(description="the newest migration this version knows")]
    database_schema: Annotated[
        str | None, Meta(description="the newest migration the database has; null while it does not answer")
    ]


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
    async def version(self, request: Request[Any, Any, Any]) -> One[Version]:
        """Which server this is."""
        config: Config = request.app.state.config
        said = Version(
            version=package_version("maycole"),
            commit=commit(config.front.commit),
            api_version=versions.NEWEST,
            api_versions=list(versions.SUPPORTED),
            schema=SCHEMA,
            database_schema=await _database_schema(),
        )
        return One(data=said)


def _answer(health: Health) -> Response[One[Health]]:
    return Response(One(data=health), status_code=503 if health.status == "down" else 200)


async def _health(request: Request[Any, Any, Any]) -> Health:
    checks: Checks = request.app.state.checks
    config: Config = request.app.state.config
    configured = {f"oauth.{name}": there for name, there in request.app.state.oauth.configured.items()}
    configured |= {"pwned": config.breaches_asked, "s3": config.bucket is not None}
    return msgspec.structs.replace(await checks.health(), configured=configured)


async def _database_schema() -> str | None:
    global _schema
    if _schema == SCHEMA:
        return _schema  # as new as this version knows: it does not go back, and anybody may ask
    try:
        async with asyncio.timeout(ASK_WITHIN_S):
            newest: str | None = await db.fetchval(_MIGRATED)
    except db.UNREACHABLE:
        return None
    # As the files are named: Piccolo keeps 2026-11-23T00:20:00:000000.
    _schema = f"maycole_{re.sub('[-:]', '_', newest.lower())}" if newest else None
    return _schema
