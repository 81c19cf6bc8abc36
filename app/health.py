"""Health: what this process depends on, asked about by name, and what follows for whoever sends requests.

To add a check: `app.state.checks.add("limiter", ask)`; `ask` takes nothing, returns a Check (or an awaitable
of one) and does not raise. All are asked at the same time, each for CHECK_WITHIN_S at most, once for however
many want to know, and not again for REMEMBERED_S: a storm of questions does not become one of statements.

None waits for a connection that requests hold: the database is asked over one of our own.
"""

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Final, Literal

import asyncpg
import msgspec
from litestar import Litestar
from msgspec import Meta

from app.adapters.outgoing import Outgoing
from app.config import Config
from app.lifespan import Process
from app.pipeline.limiter import Limiter
from app.pipeline.load import Load
from domain import connections, db, lines

CHECK_WITHIN_S: Final = 2.0
REMEMBERED_S: Final = 1.0
SLOW_S: Final = 1.0
REFUSED_LATELY_S: Final = 2.0


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing the server depends on."""

    ok: Annotated[bool, Meta(description="whether it works as it should")]
    detail: Annotated[str, Meta(description="how it is, for people")]
    fatal: Annotated[bool, Meta(description="whether nothing can be served as it is")] = False


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """`ok`; `degraded` (it serves, slower or with something missing); or `down` (it cannot serve)."""

    status: Literal["ok", "degraded", "down"]
    checks: Annotated[dict[str, Check], Meta(description="what the server depends on, by name")]
    configured: Annotated[
        dict[str, bool], Meta(description="services that need keys, by name: whether they have them")
    ] = {}


Ask = Callable[[], Check | Awaitable[Check]]
STOPPING: Final = Check(ok=False, fatal=True, detail="stopping: send requests elsewhere")


class Checks:
    """The checks of one process, and what they said last."""

    def __init__(self) -> None:
        self.stopping = False
        self._asks: dict[str, Ask] = {}
        self._several: list[Callable[[], Mapping[str, Check]]] = []
        self._round: asyncio.Task[dict[str, Check]] | None = None
        self._known_until = 0.0

    def add(self, name: str, ask: Ask) -> None:
        self._asks[name] = ask

    def add_several(self, ask: Callable[[], Mapping[str, Check]]) -> None:
        """Checks whose names are known only when they are asked for, and which cost nothing."""
        self._several.append(ask)

    async def health(self) -> Health:
        """How everything is now, or was less than REMEMBERED_S ago. A process that stops says so at once."""
        if self.stopping:
            return Health(status="down", checks={"serving": STOPPING})
        if self._round is None or (self._round.done() and time.monotonic() > self._known_until):
            self._round = asyncio.create_task(self._ask_all(), name="a round of health checks")
        # Whoever asked first may hang up; the others wait for the same answer.
        checks = dict(await asyncio.shield(self._round))
        for ask in self._several:
            checks |= ask()
        if any(check.fatal for check in checks.values()):
            return Health(status="down", checks=checks)
        is_well = all(check.ok for check in checks.values())
        return Health(status="ok" if is_well else "degraded", checks=checks)

    async def _ask_all(self) -> dict[str, Check]:
        said = await asyncio.gather(*(_asked(ask) for ask in self._asks.values()))
        self._known_until = time.monotonic() + REMEMBERED_S
        return dict(zip(self._asks, said, strict=True))


async def _asked(ask: Ask) -> Check:
    try:
        async with asyncio.timeout(CHECK_WITHIN_S):
            said = ask()
            return await said if inspect.isawaitable(said) else said
    except TimeoutError:
        return Check(ok=False, detail=f"not known: it did not say within {CHECK_WITHIN_S:g} s")


class Database:
    """Asks Postgres over a connection of its own, which is made when it is first needed."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: asyncpg.Connection | None = None

    async def ask(self) -> Check:
        began = time.monotonic()
        try:
            # A little less than what any check may take: what it says is better than that it says nothing.
            async with asyncio.timeout(CHECK_WITHIN_S * 0.9):
                await self._answers()
        except db.UNREACHABLE as error:
            self.close()
            return Check(ok=False, fatal=True, detail=f"Postgres does not answer ({type(error).__name__})")
        took_s = time.monotonic() - began
        if took_s > SLOW_S:
            return Check(ok=False, detail=f"Postgres is slow: it took {took_s:.1f} s to answer")
        return Check(ok=True, detail=f"answers in {1000 * took_s:.1f} ms")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _answers(self) -> None:
        if self._connection is not None:
            try:
                await self._connection.fetchval("SELECT 1")
            except TimeoutError:
                raise
            except db.UNREACHABLE:
                self.close()  # Postgres has restarted since: it is asked over a new one
            else:
                return
        self._connection = await asyncpg.connect(
            self._url, server_settings={"application_name": "maycole health"}
        )
        await self._connection.fetchval("SELECT 1")


@asynccontextmanager
async def watching(app: Litestar) -> AsyncIterator[None]:
    """Part of the lifespan, inside app/lifespan.py: what every process depends on is checked."""
    config: Config = app.state.config
    assert config.database_url is not None, "the shell checks what is needed (app/config.py)"
    process: Process = app.state.process
    load: Load = app.state.load
    checks: Checks = app.state.checks
    bus = process.relay.bus
    database = Database(config.database_url)
    checks.add("database", database.ask)
    checks.add("pool", _pool)
    checks.add("load", lambda: _load(load))
    checks.add("redis.subscribe", lambda: _either(bus.listening, *_HEARING))
    checks.add("redis.publish", lambda: _either(bus.speaking, *_SPEAKING))
    checks.add("limiter", lambda: _limiter(process.limiter))
    checks.add("tasks", lambda: _tasks(process))
    outgoing: Outgoing = app.state.outgoing
    checks.add_several(lambda: _outgoing(outgoing))
    try:
        yield
    finally:
        database.close()


_HEARING: Final = ("hears other processes", "cut off: live updates come by polling the database")
_SPEAKING: Final = ("reaches other processes", "cannot publish: others find changes in the log")


def _either(ok: bool, yes: str, no: str) -> Check:
    return Check(ok=ok, detail=yes if ok else no)


def _pool() -> Check:
    pool = db.engine.pool
    if pool is None:
        return Check(ok=False, detail="closed")
    in_use, wait_s = pool.get_size() - pool.get_idle_size(), lines.waiting_s()
    detail = (
        f"{in_use} of {pool.get_max_size()} connections in use, {connections.waiting()} wait for one; "
        f"the first who waits, for one or for an answer, has waited for {1000 * wait_s:.0f} ms"
    )
    return Check(ok=wait_s <= SLOW_S, detail=detail)


def _load(load: Load) -> Check:
    detail = (
        f"{load.at_work} requests at work of {load.limit} at most, {load.refused} refused so far; "
        f"the event loop was {1000 * load.late_s:.0f} ms late"
    )
    return Check(ok=time.monotonic() - load.refused_at > REFUSED_LATELY_S, detail=detail)


def _limiter(limiter: Limiter) -> Check:
    share = f"up to a share of 1/{limiter.processes} of each limit"
    alone = f"cut off from Redis: this process counts by itself, {share}"
    return _either(limiter.is_shared, "counts together with the other processes", alone)


def _outgoing(outgoing: Outgoing) -> dict[str, Check]:
    return {f"outgoing.{one.name}": Check(ok=one.ok, detail=one.detail) for one in outgoing.standings()}


def _tasks(process: Process) -> Check:
    if process.died is not None:
        return Check(ok=False, fatal=True, detail=f"{process.died} died: this process is going down")
    jobs = "jobs are done here" if process.worker is not None else "jobs are done by `maycole worker`"
    return Check(ok=True, detail=f"{len(process.tasks)} background tasks run; {jobs}")
