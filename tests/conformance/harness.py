"""What the judges stand on: the product as it is shipped, processes whose every complaint is kept, a verdict.

Rules   every process is started here and ended by its recorded pid, with the processes that it started; every
        wait is bounded (Broken); all that is written lies in one directory, which goes when the run ends.
"""

import asyncio
import contextlib
import os
import re
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import psutil

from app.config import Config
from app.embedded import Embedded
from app.migrate import migrate
from tests.generous import COMMAND
from tests.ground import ENCRYPTION_KEY
from tests.processes import environment

ROOT: Final = Path(__file__).parents[2]
SECRET: Final = "judges sign their tokens with this secret"
ANSWER_WITHIN_S: Final = 30.0
STOP_WITHIN_S: Final = 15.0
LINE_BYTES_MAX: Final = 4 * 1024 * 1024
LOG_LINES_SHOWN: Final = 40


class Broken(Exception):
    """The judge could not do its work; there is no verdict then."""


class Child:
    """A process started by `child`: lines in, lines out. What it says on stderr is kept in a file."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, errors: Path) -> None:
        self.name = name
        self.pid = process.pid
        self._process = process
        self._errors = errors

    @property
    def running(self) -> bool:
        return self._process.returncode is None

    async def line(self, within_s: float = ANSWER_WITHIN_S) -> str | None:
        """The next line that it prints, or None at the end. Raises Broken if that takes too long."""
        assert self._process.stdout is not None, "child() asked for a pipe"
        try:
            said = await asyncio.wait_for(self._process.stdout.readline(), within_s)
        except TimeoutError:
            raise Broken(f"{self.name} said nothing for {within_s:.0f} s{self._last_words()}") from None
        return said.decode().rstrip("\n") if said else None

    def tell(self, what: Mapping[str, Any]) -> None:
        """Send it one JSON object in a line."""
        assert self._process.stdin is not None, "child() asked for a pipe"
        if not self._process.stdin.is_closing():
            self._process.stdin.write(msgspec.json.encode(what) + b"\n")

    async def ended(self, within_s: float) -> tuple[int, str]:
        """Wait for its end; its exit status and all it printed. Raises Broken if that takes too long."""
        try:
            printed, _ = await asyncio.wait_for(self._process.communicate(), within_s)
        except TimeoutError:
            raise Broken(f"{self.name} did not end within {within_s:.0f} s{self._last_words()}") from None
        assert self._process.returncode is not None, "it has ended"
        return self._process.returncode, printed.decode()

    def errors(self) -> str:
        """All that it has said on stderr until now."""
        return self._errors.read_text(errors="replace")

    async def end(self) -> None:
        """SIGTERM; SIGKILL for it, and for what it started, if that does not end it in time."""
        family = [psutil.Process(self.pid)] if self.running else []
        with contextlib.suppress(psutil.NoSuchProcess):
            family += [member for one in family[:1] for member in one.children(recursive=True)]
        if self.running:
            self._process.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), STOP_WITHIN_S)
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        await self._process.wait()

    def _last_words(self) -> str:
        words = self.errors().strip()[-2000:]
        return f"; its last words:\n{words}" if words else ""


@dataclass
class Verdict:
    """How many of a judge's cases passed, of how many, and what else is to be known: one line each.

    Our servers log warnings and errors alone, and nothing that a client sends is one: who logs, fails.
    """

    passed: int
    total: int
    notes: list[str] = field(default_factory=list)
    quiet: bool = True

    @property
    def good(self) -> bool:
        return self.quiet and self.passed == self.total > 0

    def heard(self, server: Child) -> None:
        """Look at what a server has logged."""
        lines = server.errors().splitlines()
        if lines:
            self.quiet = False
            self.notes.append(f"{server.name} logged {len(lines)} lines:")
            self.notes += [f"  {line}" for line in lines[:LOG_LINES_SHOWN]]


@contextlib.asynccontextmanager
async def child(
    name: str, *argv: str | Path, ground: Path, env: Mapping[str, str] | None = None, cwd: Path = ROOT
) -> AsyncIterator[Child]:
    """A process until the block ends. Without `env` it has ours."""
    descriptor, errors = tempfile.mkstemp(prefix=f"{re.sub('[^a-z]+', '-', name.lower())}-", dir=ground)
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=descriptor,
            env=env,
            cwd=cwd,
            limit=LINE_BYTES_MAX,
        )
    except FileNotFoundError:
        raise Broken(f"there is no {argv[0]} on this machine") from None
    finally:
        os.close(descriptor)
    started = Child(name, process, Path(errors))
    try:
        yield started
    finally:
        await started.end()


async def listens_on(server: Child) -> str:
    """The URL that a server prints when it listens. Raises Broken if it prints something else."""
    said = await server.line() or "nothing"
    url = said.removeprefix("listening on ")
    if url == said:
        raise Broken(f"{server.name} does not say where it listens: {said!r}\n{server.errors()}")
    return url


@contextlib.asynccontextmanager
async def configured(ground: Path, *, secret: str = SECRET) -> AsyncIterator[Config]:
    """The configuration of a server: a Postgres, migrated, and a Redis of its own, and this secret."""
    with Embedded(ground / "servers", durable=False) as servers:
        assert servers.database_url is not None, "it was asked for"
        await migrate(servers.database_url)
        yield Config(
            database_url=servers.database_url,
            redis_url=servers.redis_url,
            jwt_secret=secret,
            encryption_key=ENCRYPTION_KEY,
            public_url="http://localhost",  # said, so that nothing is logged about it; no mail is sent
            log_level="WARN",
        )


@dataclass
class Product:
    """`maycole serve`, as it is shipped."""

    process: Child
    url: str
    config: Config

    @property
    def websocket(self) -> str:
        return f"{self.url.replace('http', 'ws', 1)}/connection/websocket"


@contextlib.asynccontextmanager
async def product(ground: Path, *, workers: int = 2) -> AsyncIterator[Product]:
    """The product on a free port, ready, with servers of its own and an empty database."""
    async with configured(ground) as config, serving(ground, config, workers=workers) as served:
        yield served


@contextlib.asynccontextmanager
async def serving(ground: Path, config: Config, *, workers: int = 1) -> AsyncIterator[Product]:
    """`maycole serve` with this configuration: several may have the same."""
    serve = (*COMMAND, "serve", f"--workers={workers}")
    async with child("maycole serve", *serve, ground=ground, env=environment(config)) as process:
        url = await listens_on(process)
        await _ready(url, process)
        yield Product(process, url, config)


async def _ready(url: str, process: Child) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=ANSWER_WITHIN_S) as http:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            while (await http.get("/api/health/ready")).status_code != 200:
                if not process.running:
                    raise Broken(f"{process.name} has ended:\n{process.errors()}")
                await asyncio.sleep(0.1)


def module(name: str) -> tuple[str, ...]:
    """The command that runs a module of this package."""
    return (sys.executable, "-m", f"tests.conformance.{name}")
