"""Node packages that tests run with: installed into a directory of their own, once a session."""

import shutil
import subprocess
from pathlib import Path

import pytest

# What they are for: the official JavaScript SDK and its websocket; AsyncAPI's own schemas.
PACKAGES = ("centrifuge@5.8.0", "ws@8.23.0", "@asyncapi/specs@6.11.1")
WITHIN_S = 90


def install(place: Path) -> Path:
    """A directory whose node_modules holds PACKAGES. Skips the test where that cannot be had."""
    if not shutil.which("npm") or not shutil.which("node"):
        pytest.skip("Node is not installed (apt-get install nodejs npm)")
    command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(place)]
    try:
        done = subprocess.run(
            [*command, *PACKAGES], capture_output=True, text=True, timeout=WITHIN_S, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"the npm registry did not answer within {WITHIN_S} s")
    if done.returncode:
        pytest.skip(f"npm could not install {', '.join(PACKAGES)}: {done.stderr.strip()[-300:]}")
    return place
