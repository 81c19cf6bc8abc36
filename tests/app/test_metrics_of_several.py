"""Several workers behind one listener: what those have counted that died is kept, and their files are not."""

import os
import struct
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from uvicorn.supervisors import Multiprocess

from app.metrics.several import collected, fold
from app.supervisor import Supervisor
from tests.app.reading_metrics import Read

# No process has such a number, on any system.
NOBODYS = 2**22 + 1
COUNTS_AND_DIES = """
import os, signal
from app.metrics.table import COUNTERS, GAUGE, TIMES
for _ in range(3):
    COUNTERS["problems"].labels("not_found").inc()
    TIMES["http_request"].labels("GET", "/api/version", "2xx").observe(0.02)
    TIMES["db_pool_wait"].observe(1.5)
GAUGE["processes"].set(1)
GAUGE["jobs_kept"].labels("parked").set(4)
os.kill(os.getpid(), signal.SIGKILL)
"""
ENOUGH = 5000
ROUTE = {"method": "GET", "route": "/api/version", "status": "2xx"}


def dies(shared: Path) -> None:
    """A worker that counts three of each, and is killed."""
    env = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(shared)}
    subprocess.run([sys.executable, "-c", COUNTS_AND_DIES], env=env, check=False)


def read(shared: Path) -> Read:
    return Read(collected(shared).decode())


def counted(shared: Path) -> list[float]:
    said = read(shared)
    return [
        said.of("problems_total", code="not_found"),
        said.of("http_request_seconds_count", **ROUTE),
        said.of("http_request_seconds_bucket", le="0.025", **ROUTE),
        said.of("db_pool_wait_seconds_bucket", le="2.5"),
        round(said.of("db_pool_wait_seconds_sum") / 1.5, 6),
    ]


def test_one_death_after_another_leaves_all_that_was_counted_and_two_files(tmp_path: Path) -> None:
    for death in (1, 2, 3):
        dies(tmp_path)
        assert list(tmp_path.glob("gauge_live*.db"))
        assert b"maycole_processes" not in collected(tmp_path), "what they said of the present is over"
        assert b"maycole_jobs_kept" not in collected(tmp_path)
        assert counted(tmp_path) == [3 * death] * 5
        fold(tmp_path)
        assert counted(tmp_path) == [3 * death] * 5
        assert {file.name for file in tmp_path.iterdir()} == {"counter_gone.db", "histogram_gone.db"}
    assert read(tmp_path).of("db_pool_wait_seconds_bucket", le="1.0") == 0, "each bucket is what it was"


def test_whoever_lives_keeps_their_files(tmp_path: Path) -> None:
    count(tmp_path / f"counter_{os.getpid()}.db")
    (tmp_path / f"histogram_{os.getpid()}.db").touch()  # it is just being made
    fold(tmp_path)
    assert read(tmp_path).of("sweeper_finds_total") == 1
    assert len(list(tmp_path.iterdir())) == 2


def test_no_scrape_in_the_midst_of_folding_sees_a_counter_go_back(tmp_path: Path) -> None:
    over, deaths = threading.Event(), 0
    saw: list[list[float]] = [[], []]

    def scrape(seen: list[float]) -> None:
        while not over.is_set():
            seen.append(read(tmp_path).of("sweeper_finds_total"))

    scraping = [threading.Thread(target=scrape, args=(seen,)) for seen in saw]
    for thread in scraping:
        thread.start()
    try:
        while deaths < ENOUGH and (deaths < 40 or any(len(set(seen)) < 5 for seen in saw)):
            draft = tmp_path / "draft"
            count(draft)
            draft.rename(tmp_path / f"counter_{NOBODYS + deaths}.db")
            fold(tmp_path)
            deaths += 1
            assert read(tmp_path).of("sweeper_finds_total") == deaths
    finally:
        over.set()
        for thread in scraping:
            thread.join()
    assert deaths < ENOUGH, "they looked meanwhile"
    for seen in saw:
        assert seen == sorted(seen)


def test_a_fold_that_fails_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for death in range(2):
        count(tmp_path / f"counter_{NOBODYS + death}.db")

    def full(*given: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(MmapedDict, "write_value", full)
        with pytest.raises(OSError, match="no space"):
            fold(tmp_path)
    assert read(tmp_path).of("sweeper_finds_total") == 2
    fold(tmp_path)
    assert read(tmp_path).of("sweeper_finds_total") == 2


def test_files_that_cannot_be_folded_end_no_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Multiprocess, "__init__", lambda self: None)  # it would hear this process's signals
    monkeypatch.setattr(Multiprocess, "keep_subprocess_alive", lambda self: None)
    supervisor: Any = Supervisor(measured=tmp_path)
    broken_off = tmp_path / f"counter_{NOBODYS}.db"
    broken_off.write_bytes(struct.pack("iiii", 100, 0, 10**6, 0) + bytes(84))
    for pid in (1, 1, 2):
        assert not caplog.records
        supervisor.processes = [SimpleNamespace(pid=pid)]
        supervisor.keep_subprocess_alive()
    assert "stays in files of its own" in caplog.text
    assert broken_off.exists()


def count(file: Path) -> None:
    """What a worker writes that has found one thing."""
    values = MmapedDict(str(file))
    values.write_value(
        mmap_key("maycole_sweeper_finds", "maycole_sweeper_finds_total", [], [], "Finds."), 1.0, 0.0
    )
    values.close()
