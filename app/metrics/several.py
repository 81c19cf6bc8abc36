"""What several workers behind one listener have measured, as one.

Each keeps its values in files of a directory that they share, one a kind and process (prometheus_client's
multiprocess mode); whoever is asked adds all up. Whoever has died stays in the sum of what was counted, which
never goes back; what it said of the present is left out.

    counter_<pid>.db  histogram_<pid>.db  gauge_live…_<pid>.db      of a process
    counter_gone.db   histogram_gone.db                             the sums of those that are gone

Files of the dead would pile up, one set a restart. So the supervisor, whose children they are, folds them
into those sums. It alone does: none of its children starts meanwhile, so that nobody takes up the number, and
with it the files, of one that is just being folded. A scrape sees them before or after that, never between
(a lock on the directory). Were the supervisor killed just then, some would be counted twice: up, not back.
"""

import fcntl
import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.multiprocess import MultiProcessCollector

GONE: Final = "gone"
SUMMED: Final = ("counter", "histogram")


def collected(shared: Path) -> bytes:
    """All of it, in Prometheus' text format. Blocks: it reads files, and waits while some are folded."""
    registry = CollectorRegistry()
    registry.register(_Several(shared))
    return generate_latest(registry)


def fold(shared: Path) -> None:
    """Put what those have counted that are gone into one file a kind, and remove theirs. Raises OSError."""
    with _locked(shared, fcntl.LOCK_EX):
        dead: dict[str, list[Path]] = defaultdict(list)
        for file in _files(shared):
            if _process(file) is not None and not _lives(file):
                dead[file.name.partition("_")[0]].append(file)
        for kind in SUMMED:
            if dead[kind]:
                _sum_up(shared / f"{kind}_{GONE}.db", dead[kind])
        for file in (file for files in dead.values() for file in files):
            file.unlink()


class _Several:
    """A collector of all files of the living, and of what the others have counted."""

    def __init__(self, shared: Path) -> None:
        self._shared = shared

    def collect(self) -> Any:
        with _locked(self._shared, fcntl.LOCK_SH):
            return _merged(
                [
                    file
                    for file in _files(self._shared)
                    if _lives(file) or file.name.partition("_")[0] in SUMMED
                ]
            )


def _sum_up(into: Path, files: list[Path]) -> None:
    """Add what is in these files to those sums: whoever is killed at it leaves them as they were."""
    draft = into.with_suffix(".new")
    draft.unlink(missing_ok=True)
    values = MmapedDict(str(draft))  # type: ignore[no-untyped-call]  # prometheus_client
    try:
        for metric in _merged([file for file in (into, *files) if file.exists()], accumulate=False):
            for sample in metric.samples:
                names, given = list(sample.labels), list(sample.labels.values())
                key = mmap_key(metric.name, sample.name, names, given, metric.documentation)
                values.write_value(key, sample.value, 0.0)  # type: ignore[no-untyped-call]
    finally:
        values.close()  # type: ignore[no-untyped-call]
    draft.rename(into)


def _merged(files: list[Path], *, accumulate: bool = True) -> Any:
    """`accumulate` false: as files have it, with each bucket by itself."""
    return MultiProcessCollector.merge(list(map(str, files)), accumulate)  # type: ignore[no-untyped-call]


def _files(shared: Path) -> Iterator[Path]:
    """Those with something in them: one that is just being made has nothing yet."""
    return (file for file in sorted(shared.glob("*.db")) if file.stat().st_size)


def _process(file: Path) -> int | None:
    """Whose file it is; None for the sums of those that are gone."""
    whose = file.stem.rpartition("_")[2]
    return None if whose == GONE else int(whose)


def _lives(file: Path) -> bool:
    pid = _process(file)
    if pid is None:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # it is somebody, if not one of ours
    return True


@contextmanager
def _locked(shared: Path, how: int) -> Iterator[None]:
    lock = os.open(shared, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, how)
        yield
    finally:
        os.close(lock)
