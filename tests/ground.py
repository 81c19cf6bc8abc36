"""Ground: where servers that a test starts keep what they have."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def temporary_ground(name: str) -> Iterator[Path]:
    """A directory that the servers' own user can reach, also when we run as root, until the block ends."""
    place = Path(tempfile.mkdtemp(prefix=f"maycole-{name}-"))
    place.chmod(0o711)
    try:
        yield place
    finally:
        shutil.rmtree(place)
