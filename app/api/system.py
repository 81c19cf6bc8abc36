"""/api/health and /api/version: how the server is, and which one it is."""

import asyncio
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import Controller, Request, Response, get
from msgspec import Meta

from app.api.envelope import One
from app.lifespan import Process
from app.pipeline.policies import NOT_LIMITED
from domain import db

CHECK_WITHIN_S: Final = 2.0
API_VERSION: Final = "2026-11-22"
SCHEMA: Final = max(path.stem for path in (Path(__file__).parents[2] / "migrations").glob("maycole_*.py"))


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
        """Whether to send requests here: 503 without a database; without Redis it serves on."""
        return _answer(await _health(request))

    @get("/version", opt=NOT_LIMITED)
    async def version(self) -> One[Version]:
        """Which server this is."""
        return One(data=Version(version=package_version("maycole"), api_version=API_VERSION, schema=SCHEMA))


def _answer(health: Health) -> Response[One[Health]]:
    return Response(One(data=health), status_code=503 if health.status == "down" else 200)


async def _health(request: Request[Any, Any, Any]) -> Health:
    process: Process = request.app.state.process
    database = await _database()
    checks = {"database": database, **_redis(process), "limiter": _limiter(process), "tasks": _tasks(process)}
    configured = {f"oauth.{name}": there for name, there in request.app.state.oauth.configured.items()}
    if not database.ok or not checks["tasks"].ok:
        return Health(status="down", checks=checks, configured=configured)
    status: Literal["ok", "degraded"] = "ok" if all(check.ok for check in checks.values()) else "degraded"
    return Health(status=status, checks=checks, configured=configured)


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


def _limiter(process: Process) -> Check:
    limiter = process.limiter
    if limiter.is_shared:
        return Check(ok=True, detail="counts together with the other processes")
    share = f"up to a share of 1/{limiter.processes} of each limit"
    return Check(ok=False, detail=f"cut off from Redis: this process counts by itself, {share}")


def _tasks(process: Process) -> Check:
    if process.died is not None:
        return Check(ok=False, detail=f"{process.died} died: this process is going down")
    return Check(ok=True, detail=f"{len(process.tasks)} background tasks run")
