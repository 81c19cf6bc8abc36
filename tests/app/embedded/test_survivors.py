"""What a killed run left behind is found, known for what it is, and replaced."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from app import embedded_child
from app.embedded import Embedded, EmbeddedError
from tests.app.embedded.servers import ROOT, asked, gone, left_behind_by, pinged, until


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
