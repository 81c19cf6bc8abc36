"""What a scrape is answered: this process's metrics, or those of all workers behind one listener.

A scrape reaches one of several workers. So each keeps its values in files of a directory that they share
(prometheus_client's multiprocess mode), and whoever is asked adds all up. Counters of a worker that has died
stay in the sum, which never goes back; what it said of the present is forgotten.
"""

import os
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from app.metrics.table import REGISTRY

CONTENT_TYPE = CONTENT_TYPE_LATEST


def exposed(shared: Path | None) -> bytes:
    """The text; reads files where there is a shared directory, so not to be called on the event loop."""
    if shared is None:
        return generate_latest(REGISTRY)
    forget_the_dead(shared)
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(shared))  # type: ignore[no-untyped-call]  # prometheus_client
    return generate_latest(registry)


def forget_the_dead(shared: Path) -> None:
    """Remove what processes that are no more said of the present (`gauge_live…_<pid>.db`)."""
    for file in shared.glob("gauge_live*.db"):
        if not _lives(int(file.stem.rpartition("_")[2])):
            file.unlink(missing_ok=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # it is somebody, if not one of ours
    return True
