"""The part of the configuration that says how a server stops (app/stopping.py)."""

import re
from collections.abc import Mapping

DELAY_S_MAX = 60


def read(env: Mapping[str, str]) -> tuple[float, list[str]]:
    """SHUTDOWN_DELAY_S in seconds (0 where it is not set), and what is wrong with it."""
    given = env.get("SHUTDOWN_DELAY_S", "0")
    if not re.fullmatch(r"[0-9]{1,2}(\.[0-9]{1,3})?", given) or float(given) > DELAY_S_MAX:
        return 0.0, [f"SHUTDOWN_DELAY_S is {given!r}: use a number of seconds from 0 to {DELAY_S_MAX}"]
    return float(given), []
