"""Maycole as processes of its own, on free ports: to be several, and to be killed."""

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import httpx

from app.config import Config
from tests.generous import COMMAND

MAYCOLE = Path(sys.executable).with_name("maycole")
READY_WITHIN_S = 30
SAYS_WITHIN_S = 60


class Reader:
    """What a process prints, line by line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []

    async def until(self, pattern: str) -> re.Match[str]:
        """Read on until a line matches."""
        assert self.process.stdout is not None
        async with asyncio.timeout(SAYS_WITHIN_S):
            while line := (await self.process.stdout.readline()).decode():
                self.lines.append(line.rstrip())
                if found := re.search(pattern, line):
                    return found
        raise AssertionError(f"{pattern!r} never came: {self.lines}")


class MaycoleProcess:
    """One `maycole serve`. `url` is the address that this very process printed."""

    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self.process = process
        self.url = url

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    async def kill(self) -> None:
        """SIGKILL: no farewell, no shutdown."""
        self.process.kill()
        await self.process.wait()

    async def stop(self) -> int:
        """SIGTERM, and wait; the exit status (negative: the signal)."""
        if self.process.returncode is None:
            self.process.terminate()
        return await self.process.wait()


def environment(config: Config, *, port: int = 0) -> dict[str, str]:
    """The variables that give a process this configuration, and no others."""
    return {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": config.database_url or "",
        "REDIS_URL": config.redis_url or "",
        "JWT_SECRET": config.jwt_secret or "",
        "ENCRYPTION_KEY": config.encryption_key or "",
        "ALLOWED_ORIGINS": ",".join(config.allowed_origins),
        "PUBLIC_URL": config.public_url or "",
        "TRUSTED_PROXIES": ",".join(config.trusted_proxies),
        "AUTH_REQUIRE_VERIFIED_EMAIL": "on" if config.require_verified_email else "",
        "SHUTDOWN_DELAY_S": f"{config.shutdown_delay_s:g}",
        "PORT": str(port),
        "LOG_LEVEL": config.log_level,
        "MAYCOLE_DATA_DIR": str(config.data_dir),
    }


async def migrate(config: Config) -> None:
    """`maycole migrate`: in a process of its own, since a process has one pool."""
    process = await asyncio.create_subprocess_exec(
        MAYCOLE, "migrate", stdout=asyncio.subprocess.DEVNULL, env=environment(config)
    )
    assert await process.wait() == 0


async def start(
    config: Config, *, port: int = 0, workers: int = 1, command: Sequence[str | Path] = COMMAND
) -> MaycoleProcess:
    """Start `maycole serve` with this configuration and wait until it is ready.

    `command` (MAYCOLE,) has the limits that production has.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        "serve",
        f"--workers={workers}",
        stdout=asyncio.subprocess.PIPE,
        env=environment(config, port=port),
    )
    assert process.stdout is not None
    line = (await asyncio.wait_for(process.stdout.readline(), READY_WITHIN_S)).decode()
    assert line.startswith("listening on "), f"it said {line!r}"
    started = MaycoleProcess(process, line.removeprefix("listening on ").strip())
    async with (
        httpx.AsyncClient(base_url=started.url, timeout=READY_WITHIN_S) as client,
        asyncio.timeout(READY_WITHIN_S),
    ):
        while (await client.get("/api/health/ready")).status_code != 200:
            await asyncio.sleep(0.05)
    return started


@contextlib.asynccontextmanager
async def running(
    config: Config, *, workers: int = 1, command: Sequence[str | Path] = COMMAND
) -> AsyncIterator[MaycoleProcess]:
    """A process that has ended when the block has."""
    started = await start(config, workers=workers, command=command)
    try:
        yield started
    finally:
        if started.process.returncode is None:
            started.process.send_signal(signal.SIGKILL)
            await started.process.wait()
