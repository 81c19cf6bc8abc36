"""What benchmarks stand on: the product as a process of its own, other processes, CPU seconds, a table.

Rules   every process is started here and ended by its recorded pid; loopback only, on ports that the kernel
        chose; every wait is bounded (Broken). A figure is never taken from the clock on the wall.
"""

import asyncio
import contextlib
import os
import resource
import statistics
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Self

import asyncpg
import httpx
import msgspec
import psutil

from app.embedded import Embedded
from app.embedded_child import Child
from app.migrate import migrate
from tests.generous import COMMAND
from tests.ground import ENCRYPTION_KEY, temporary_ground

SECRET: Final = "benchmarks sign their tokens with this secret"
ANSWER_WITHIN_S: Final = 30.0
STOP_WITHIN_S: Final = 15.0
STILL_FOR_S: Final = 0.3
STILL_CPU_S: Final = 0.03  # within STILL_FOR_S; a thousand idle sockets are still pinged
LINE_BYTES_MAX: Final = 64 * 1024 * 1024


class Broken(Exception):
    """What was measured is not what should have been measured; there is no figure then."""


class Missing(Exception):
    """A peer that this machine has not got; the message says how to get it."""


class Process:
    """A process of this benchmark, started by `running`: lines in, lines out."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.pid = process.pid
        self._process = process

    async def line(self, within_s: float = ANSWER_WITHIN_S) -> str:
        """The next line that it prints. Raises Broken if it ends, or takes too long."""
        assert self._process.stdout is not None, "running() asked for a pipe"
        try:
            said = await asyncio.wait_for(self._process.stdout.readline(), within_s)
        except TimeoutError:
            raise Broken(f"{self.name} said nothing for {within_s:.0f} s") from None
        if not said:
            raise Broken(f"{self.name} has ended: what it said is above")
        return said.decode().rstrip("\n")

    async def hear(self, within_s: float = ANSWER_WITHIN_S) -> dict[str, Any]:
        """The next line, a JSON object. One that says `broken` is raised."""
        said: dict[str, Any] = msgspec.json.decode(await self.line(within_s), type=dict[str, Any])
        if "broken" in said:
            raise Broken(f"{self.name}: {said['broken']}")
        return said

    def tell(self, **what: Any) -> None:
        """Send it one JSON object in a line."""
        assert self._process.stdin is not None, "running() asked for a pipe"
        self._process.stdin.write(msgspec.json.encode(what) + b"\n")

    def send(self, raw: bytes) -> None:
        """Send it bytes as they are."""
        assert self._process.stdin is not None, "running() asked for a pipe"
        self._process.stdin.write(raw)

    def cpu_s(self) -> float:
        """CPU seconds that this process and its children have used until now."""
        return cpu_s(self.pid)

    async def stand_still(self) -> None:
        """Wait until it has nothing to do any more, so that what follows is charged to the right figure."""
        before = -1.0
        for _ in range(round(ANSWER_WITHIN_S / STILL_FOR_S)):
            now = self.cpu_s()
            if now - before <= STILL_CPU_S:
                return
            before = now
            await asyncio.sleep(STILL_FOR_S)
        raise Broken(f"{self.name} does not come to rest")

    async def end(self) -> None:
        if self._process.returncode is None:
            self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), STOP_WITHIN_S)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()


@contextlib.asynccontextmanager
async def running(
    name: str, *argv: str, env: Mapping[str, str] | None = None, errors: IO[str] | None = None
) -> AsyncIterator[Process]:
    """A process until the block ends. What it says on stderr goes to ours, or to a file of `errors`."""
    started = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=errors,
        env={**os.environ, **(env or {})},
        limit=LINE_BYTES_MAX,
    )
    process = Process(name, started)
    try:
        yield process
    finally:
        await process.end()


def module(name: str) -> tuple[str, ...]:
    """The command that runs a module of this package."""
    return (sys.executable, "-m", f"tests.bench.{name}")


def cpu_s(pid: int) -> float:
    """CPU seconds, user and system, of a process and of those below it that are alive."""
    used = 0.0
    top = psutil.Process(pid)
    for process in (top, *top.children(recursive=True)):
        # A backend may end while we look.
        with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            used += _used_s(process)
    return used


def _used_s(process: psutil.Process) -> float:
    """From the scheduler, which counts nanoseconds, where there is one to ask; else in ticks of 10 ms."""
    threads = list(Path(f"/proc/{process.pid}/task").glob("*/schedstat"))
    if threads:
        return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9
    times = process.cpu_times()
    total: float = times.user + times.system
    return total


def raise_limits() -> int:
    """Allow this process, and those it starts, as many open files as may be; how many that is."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


@dataclass
class Product:
    """`maycole serve` and what it stands on."""

    process: Process
    url: str
    database_url: str
    redis_url: str
    postgres_pid: int
    redis_pid: int

    def cpu(self) -> dict[str, float]:
        """CPU seconds so far, of each."""
        return {
            "app": self.process.cpu_s(),
            "Postgres": cpu_s(self.postgres_pid),
            "Redis": cpu_s(self.redis_pid),
        }


@contextlib.asynccontextmanager
async def product(
    *, counts_statements: bool = False, writes_lines: bool = False, command: Sequence[str] = COMMAND
) -> AsyncIterator[Product]:
    """The product in one process, with a Postgres and a Valkey of its own and an empty database.

    With `counts_statements` Postgres counts them (pg_stat_statements); with `writes_lines` each request
    leaves its log line, in a file. `command` is what to start instead of `maycole`.
    """
    with temporary_ground("bench") as place, Embedded(place / "servers", durable=False) as servers:
        assert servers.database_url is not None
        assert servers.redis_url is not None
        assert servers.postgres is not None
        assert servers.redis is not None
        if counts_statements:
            await _count_statements(servers.postgres, servers.database_url)
        assert servers.postgres.pid is not None
        assert servers.redis.pid is not None
        await migrate(servers.database_url)
        env = {
            "DATABASE_URL": servers.database_url,
            "REDIS_URL": servers.redis_url,
            "JWT_SECRET": SECRET,
            "ENCRYPTION_KEY": ENCRYPTION_KEY,
            "HOST": "127.0.0.1",
            "PORT": "0",
            "LOG_LEVEL": "INFO" if writes_lines else "WARNING",
        }
        lines = (place / "log").open("w") if writes_lines else None
        async with running("the product", *command, "serve", env=env, errors=lines) as process:
            said = await process.line()
            _, _, url = said.partition("listening on ")
            if not url.startswith("http://127.0.0.1:"):
                raise Broken(f"the product does not say where it listens: {said!r}")
            await _ready(url)
            yield Product(
                process,
                url,
                servers.database_url,
                servers.redis_url,
                servers.postgres.pid,
                servers.redis.pid,
            )


@dataclass
class Figure:
    """The rounds of one figure."""

    values: list[float]

    @classmethod
    def ratio(cls, of: Sequence[float], to: Sequence[float]) -> Self:
        """Round by round: both sides of a pair ran one right after the other."""
        return cls([a / b for a, b in zip(of, to, strict=True)])

    @property
    def middle(self) -> float:
        return statistics.median(self.values)

    def said(self, form: str) -> str:
        """Median, and from the least to the most."""
        low, middle, high = (
            form.format(value) for value in (min(self.values), self.middle, max(self.values))
        )
        return f"{middle:>9}  ({low} to {high})"


def spread(values: Sequence[float]) -> dict[str, float]:
    """Of many milliseconds: half are within `p50_ms`, 99 in 100 within `p99_ms`, all within `max_ms`."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return {"p50_ms": ordered[last // 2], "p99_ms": ordered[round(last * 0.99)], "max_ms": ordered[last]}


def table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


async def _count_statements(postgres: Child, database_url: str) -> None:
    """The library is loaded at start, so this starts it again."""
    connection = await asyncpg.connect(database_url)
    await connection.execute("ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'")
    await connection.close()
    postgres.stop()
    postgres.start()
    connection = await asyncpg.connect(database_url)
    await connection.execute("CREATE EXTENSION pg_stat_statements")
    await connection.close()


async def _ready(url: str) -> None:
    async with httpx.AsyncClient(base_url=url) as http, asyncio.timeout(ANSWER_WITHIN_S):
        while (await http.get("/api/health/ready")).status_code != 200:
            await asyncio.sleep(0.1)
