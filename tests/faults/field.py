"""The field: everything that a scenario stands on, and everything in it that can be broken.

Own Postgres, own Redis, two or three `maycole serve` on ports that stay theirs, a fault proxy on each link of
each of them, and one before them all that dials whichever answers, as a load balancer does. Every process is
ended by its recorded pid; nothing is left when the field is closed.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

import asyncpg
import httpx
import msgspec

from app.config import Config
from app.embedded import Embedded
from tests.factories import Api
from tests.faults.asking import client
from tests.faults.faultproxy import Address, FaultProxy
from tests.generous import COMMAND
from tests.ground import ENCRYPTION_KEY
from tests.processes import MaycoleProcess, environment, migrate

ROOT: Final = Path(__file__).parents[2]
SECRET: Final = "the fault harness signs its tokens with this secret"
READY_WITHIN_S: Final = 60.0
STOP_WITHIN_S: Final = 40.0
REQUEST_WITHIN_S: Final = 30.0
SERVE: Final = (*COMMAND, "serve")
MISTAKES: Final = ("error", "critical")  # levels of lines in the log


def seeded(bug: str, program: str) -> tuple[str, ...]:
    """The command that runs `serve` or `writer` with a known bug, or with none (`none`)."""
    return (sys.executable, "-m", "tests.faults.seeded", bug, program)


class Application:
    """One `maycole serve` that can be killed, stopped and started again at the same address."""

    def __init__(
        self, config: Config, postgres: FaultProxy, redis: FaultProxy, command: Sequence[str]
    ) -> None:
        self.config = config
        self.postgres = postgres
        self.redis = redis
        self.command = command
        self.port = 0
        self.running: MaycoleProcess | None = None
        self.log = Path(os.devnull)

    @property
    def address(self) -> Address:
        return Address("127.0.0.1", self.port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self.running is not None, "it does not run"
        return self.running.process.pid

    async def start(self, log: Path) -> None:
        """Start it and wait until it is ready. Raises TimeoutError, AssertionError."""
        self.log = log
        with log.open("ab") as told:
            process = await asyncio.create_subprocess_exec(
                *self.command,
                stdout=asyncio.subprocess.PIPE,
                stderr=told,
                cwd=ROOT,
                env=environment(self.config, port=self.port),
            )
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), READY_WITHIN_S)).decode()
        assert line.startswith("listening on "), f"it said {line!r}; see {log}"
        self.running = MaycoleProcess(process, line.removeprefix("listening on ").strip())
        self.port = self.running.port
        await self.ready()

    async def ready(self) -> None:
        """Wait until it says that it is. Raises TimeoutError; AssertionError where it has ended by itself."""
        async with asyncio.timeout(READY_WITHIN_S), client(base_url=self.url, timeout=5) as http:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    if (await http.get("/api/health/ready")).status_code == 200:
                        return
                self._runs()
                await asyncio.sleep(0.05)

    async def kill(self) -> None:
        """SIGKILL, if it runs. Raises AssertionError where it had ended by itself."""
        if self.running is not None:
            self._runs()
            process, self.running = self.running, None
            await process.kill()

    async def stop(self) -> int:
        """SIGTERM, and wait until it has ended; its exit status."""
        self._runs()
        assert self.running is not None, "it does not run"
        process, self.running = self.running, None
        try:
            return await asyncio.wait_for(process.stop(), STOP_WITHIN_S)
        except TimeoutError:
            await process.kill()
            raise

    def _runs(self) -> None:
        ended = self.running.process.returncode if self.running is not None else None
        assert ended is None, f"it had ended by itself, with {ended}: {mistakes(self.log)}"


class Field:
    """What a scenario works with. `api` is the REST API behind the load balancer."""

    def __init__(
        self, servers: Embedded, direct: Config, apps: list[Application], front: FaultProxy, log: Path
    ) -> None:
        self.servers = servers
        self.direct = direct
        self.apps = apps
        self.front = front
        self.log = log
        self.postgres_log = log.with_name("servers") / "logs" / "postgres.log"
        self.http = client(base_url=self.url, timeout=REQUEST_WITHIN_S)
        self.api = Api(self.http)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.front.port}"

    @property
    def links(self) -> list[FaultProxy]:
        """Every link there is: before the servers, between client and app."""
        return [self.front, *(app.postgres for app in self.apps), *(app.redis for app in self.apps)]

    async def restart(self, app: Application) -> None:
        await app.start(self.log)

    @contextlib.asynccontextmanager
    async def another(self, command: Sequence[str]) -> AsyncIterator[Application]:
        """One more app on the same servers, which the load balancer does not know of."""
        async with contextlib.AsyncExitStack() as stack:
            app = await _application(self.direct, command, stack)
            stack.push_async_callback(app.kill)
            await app.start(self.log)
            yield app

    async def whole(self) -> None:
        """Mend all that a scenario may have broken, and wait until every app is ready and hears Redis."""
        for link in self.links:
            link.mend()
        await self.start_servers()
        for app in self.apps:
            if app.running is None:
                await self.restart(app)
            await app.ready()
            await self.until_status(app, "ok")

    async def until_status(self, app: Application, wanted: str) -> None:
        async with asyncio.timeout(READY_WITHIN_S), client(base_url=app.url, timeout=5) as http:
            while (await http.get("/api/health")).json()["data"]["status"] != wanted:
                await asyncio.sleep(0.05)

    # Postgres and Redis

    async def start_servers(self) -> None:
        for child in (self.servers.postgres, self.servers.redis):
            assert child is not None, "the field has both"
            await asyncio.to_thread(child.start)

    async def crash_postgres(self) -> None:
        """As `pg_ctl restart -m immediate` does: every backend is gone at once, nothing is put in order."""
        postgres = self.servers.postgres
        assert postgres is not None
        assert postgres.pid is not None
        os.kill(postgres.pid, signal.SIGQUIT)
        async with asyncio.timeout(STOP_WITHIN_S):
            while postgres.is_running():
                await asyncio.sleep(0.01)
        await asyncio.to_thread(postgres.start)

    async def kill_redis(self) -> None:
        assert self.servers.redis is not None
        await asyncio.to_thread(self.servers.redis.kill)

    async def start_redis(self) -> None:
        assert self.servers.redis is not None
        await asyncio.to_thread(self.servers.redis.start)

    def signal_redis(self, number: signal.Signals) -> None:
        assert self.servers.redis is not None
        assert self.servers.redis.pid is not None
        os.kill(self.servers.redis.pid, number)

    async def redis(self, *command: str) -> bytes:
        """One command, past every proxy; the first of the answer."""
        where = urlsplit(self.servers.redis_url or "")
        reader, writer = await Address(path=where.path).dial()
        words = [("AUTH", where.password or ""), command]
        for each in words:
            parts = (f"${len(word.encode())}\r\n{word}\r\n" for word in each)
            writer.write(f"*{len(each)}\r\n{''.join(parts)}".encode())
        async with asyncio.timeout(5):
            assert await reader.readline() == b"+OK\r\n"
            answer = await reader.readline()
        writer.close()
        return answer

    @contextlib.asynccontextmanager
    async def database(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection past every proxy."""
        connection = await asyncpg.connect(self.servers.database_url, timeout=10)
        try:
            yield connection
        finally:
            await connection.close()

    def errors(self) -> list[str]:
        """What the apps logged as a mistake of theirs."""
        return mistakes(self.log)


def mistakes(log: Path) -> list[str]:
    """The lines of mistakes in what apps logged."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return [line for line in lines if any(f'"level":"{level}"' in line for level in MISTAKES)]


@contextlib.asynccontextmanager
async def field(ground: Path, *, apps: int = 2, command: Sequence[str] = SERVE) -> AsyncIterator[Field]:
    """Everything, for as long as the block lasts; `ground` is a directory that others may pass through."""
    async with contextlib.AsyncExitStack() as stack:
        servers = stack.enter_context(Embedded(ground / "servers", durable=False))
        direct = Config(
            database_url=servers.database_url,
            redis_url=servers.redis_url,
            jwt_secret=SECRET,
            encryption_key=ENCRYPTION_KEY,
            log_level="WARN",
        )
        await migrate(direct)
        made = [await _application(direct, command, stack) for _ in range(apps)]
        log = ground / "apps.log"
        for app in made:
            stack.push_async_callback(app.kill)
        await asyncio.gather(*(app.start(log) for app in made))
        front = await stack.enter_async_context(await FaultProxy.listen(*(app.address for app in made)))
        front.in_turn = True
        opened = Field(servers, direct, made, front, log)
        stack.push_async_callback(opened.http.aclose)
        # A frozen Redis cannot be stopped in order.
        stack.callback(opened.signal_redis, signal.SIGCONT)
        yield opened
        await opened.whole()


async def _application(
    direct: Config, command: Sequence[str], stack: contextlib.AsyncExitStack
) -> Application:
    """An app whose Postgres and Redis are reached through proxies of its own."""
    database, redis = urlsplit(direct.database_url or ""), urlsplit(direct.redis_url or "")
    at = parse_qs(database.query)
    sockets = Path(at["host"][0])
    postgres = await stack.enter_async_context(
        await FaultProxy.listen(Address(path=str(sockets / f".s.PGSQL.{at['port'][0]}")))
    )
    bell = await stack.enter_async_context(await FaultProxy.listen(Address(path=redis.path)))
    login = f"{database.username}:{database.password}"
    proxied = msgspec.structs.replace(
        direct,
        database_url=f"postgresql://{login}@127.0.0.1:{postgres.port}{database.path}?sslmode=disable",
        redis_url=f"redis://:{redis.password}@127.0.0.1:{bell.port}",
    )
    return Application(proxied, postgres, bell, command)


async def until(condition: Callable[[], bool], within_s: float) -> bool:
    """Wait until it holds; whether it came to hold in time."""
    end = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > end:
            return False
        await asyncio.sleep(0.02)
    return True
