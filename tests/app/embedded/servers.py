"""What the tests of the embedded servers share: starting them as somebody, and looking at what is left."""

import asyncio
import os
import subprocess
import time
from collections.abc import Callable, Coroutine
from pathlib import Path

import asyncpg
import psutil
import pytest
import redis.asyncio

ROOT = os.geteuid() == 0
as_root = pytest.mark.skipif(not ROOT, reason="only root can become somebody else")

# Starts the servers as `uid` (0: as we are) and says which they are. All is imported before it gives up being
# root, because others may not be able to read this Python.
RUN = """
import os, sys
from pathlib import Path
from app.embedded import Embedded, EmbeddedError
uid, folder, *without = sys.argv[1:]
if int(uid):
    os.setgroups([]); os.setresgid(*3 * [int(uid)]); os.setresuid(*3 * [int(uid)])
try:
    with Embedded(Path(folder), durable=False, **{name: False for name in without}) as servers:
        print(*(child.pid for child in (servers.postgres, servers.redis) if child), flush=True)
        sys.stdin.read()
except EmbeddedError as error:
    sys.exit(str(error))
"""


def left_behind_by(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Its servers, after a SIGKILL of it that they survive."""
    line = process.stdout.readline()
    assert line, process.stderr.read()
    servers = [psutil.Process(int(pid)) for pid in line.split()]
    process.kill()
    process.wait()
    assert all(server.is_running() for server in servers), "someone must survive for this to mean anything"
    return servers


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def asked(url: str, question: str) -> object:
    async def ask() -> object:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(question)
        finally:
            await connection.close()

    return waited_for(ask())


def pinged(url: str) -> object:
    async def ping() -> object:
        async with redis.asyncio.Redis.from_url(url) as client:
            return await client.ping()

    return waited_for(ping())


def waited_for(answer: Coroutine[None, None, object]) -> object:
    """On a loop of its own, and without asyncio.run, which would take away the one of the session's tests."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(answer)
    finally:
        loop.close()
