"""The embedded Postgres and Redis: they answer to us alone, stop with us, and say how they ended."""

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import psutil
import pytest
import redis.asyncio

from app.embedded import Embedded, EmbeddedError
from tests.app.embedded.servers import (
    ROOT,
    asked,
    gone,
    mode,
    pinged,
    until,
)


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
        assert (servers.postgres.ending(), servers.redis.ending()) == (None, None)
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
        assert (servers.postgres.ending(), servers.redis.ending()) == (None, None), "we did it"
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
        until(child.ending)
        assert child.ending().startswith(f"{name} was ended by SIGKILL: ")
        assert "ready" in child.ending().lower(), "it says what it said last"
        assert not child.is_running()
        child.start()
        assert child.ending() is None


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
