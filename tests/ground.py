"""Ground: where servers that a test starts keep what they have."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ENCRYPTION_KEY: Final = "dGVzdHMgZW5jcnlwdCB3aXRoIHRoaXMga2V5IDMyIGI="  # of every server that tests start


@contextlib.contextmanager
def temporary_ground(name: str) -> Iterator[Path]:
    """A directory that the servers' own user can reach, also when we run as root, until the block ends."""
    place = Path(tempfile.mkdtemp(prefix=f"maycole-{name}-"))
    place.chmod(0o711)
    try:
        yield place
    finally:
        shutil.rmtree(place)
