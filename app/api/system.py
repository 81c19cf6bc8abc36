"""/api/health and /api/version: how the server is, and which one it is."""

import asyncio
import re
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import Controller, Request, Response, get
from msgspec import Meta

from app.api.envelope import One
from app.commit import commit
from app.config import Config
from app.lifespan import Process
from domain import db, versions

CHECK_WITHIN_S: Final = 2.0
SCHEMA: Final = max(path.stem for path in (Path(__file__).parents[2] / "migrations").glob("maycole_*.py"))
_MIGRATED: Final = "SELECT max(name) FROM migration WHERE app_name = 'maycole'"


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing the server depends on."""

    ok: Annotated[bool, Meta(description="whether it works")]
    detail: Annotated[str, Meta(description="how it is, for people")]


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """`ok`; `degraded` (it works, slower: live updates come by polling); or `down` (it cannot serve)."""

    status: Literal["ok", "degraded", "down"]
    checks: Annotated[dict[str, Check], Meta(description="what the server depends on, by name")]
    configured: Annotated[
        dict[str, bool], Meta(description="services that need keys, by name: whether they have them")
    ] = {}


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

    @get("/health")
    async def health(self, request: Request[Any, Any, Any]) -> Response[One[Health]]:
        """How the server is, and what is wrong with it; 503 when it is down."""
        return _answer(await _health(request))

    @get("/health/live")
    async def live(self) -> Response[One[Health]]:
        """Whether the process answers at all."""
        return _answer(Health(status="ok", checks={}))

    @get("/health/ready")
    async def ready(self, request: Request[Any, Any, Any]) -> Response[One[Health]]:
        """Whether to send requests here: 503 without a database; without Redis it serves on."""
        return _answer(await _health(request))

    @get("/version")
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
    process: Process = request.app.state.process
    database = await _database()
    checks = {"database": database, **_redis(process), "tasks": _tasks(process)}
    configured = {f"oauth.{name}": there for name, there in request.app.state.oauth.configured.items()}
    if not database.ok or not checks["tasks"].ok:
        return Health(status="down", checks=checks, configured=configured)
    status: Literal["ok", "degraded"] = "ok" if all(check.ok for check in checks.values()) else "degraded"
    return Health(status=status, checks=checks, configured=configured)


async def _database_schema() -> str | None:
    try:
        async with asyncio.timeout(CHECK_WITHIN_S):
            newest: str | None = await db.fetchval(_MIGRATED)
    except db.UNREACHABLE:
        return None
    # As the files are named: Piccolo keeps 2026-11-23T00:20:00:000000.
    return f"maycole_{re.sub('[-:]', '_', newest.lower())}" if newest else None


async def _database() -> Check:
    try:
        async with asyncio.timeout(CHECK_WITHIN_S):
            await db.fetchval("SELECT 1")
    except db.UNREACHABLE as error:
        return Check(ok=False, detail=f"Postgres does not answer ({type(error).__name__})")
    return Check(ok=True, detail="answers")


def _redis(process: Process) -> dict[str, Check]:
    bus = process.relay.bus
    hearing = (
        "hears other processes" if bus.listening else "cut off: live updates come by polling the database"
    )
    speaking = "reaches other processes" if bus.speaking else "cannot publish: others find changes in the log"
    return {
        "redis.subscribe": Check(ok=bus.listening, detail=hearing),
        "redis.publish": Check(ok=bus.speaking, detail=speaking),
    }


def _tasks(process: Process) -> Check:
    if process.died is not None:
        return Check(ok=False, detail=f"{process.died} died: this process is going down")
    return Check(ok=True, detail=f"{len(process.tasks)} background tasks run")
