"""What a scrape is answered: this process's metrics, or those of all workers behind one listener."""

from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from app.metrics import several
from app.metrics.table import REGISTRY

CONTENT_TYPE = CONTENT_TYPE_LATEST


def exposed(shared: Path | None) -> bytes:
    """The text; reads files where there is a shared directory, so not to be called on the event loop."""
    return generate_latest(REGISTRY) if shared is None else several.collected(shared)
