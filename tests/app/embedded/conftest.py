"""Directories for the embedded servers, which other users may or may not enter."""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from app.embedded import Embedded
from tests.app.embedded.servers import RUN


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
