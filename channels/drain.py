"""Drain: when each connection is closed while the server stops. All at once, they would come back at once.

As long as it waits for its turn a connection is served like any other.
"""

import random
from typing import Final

DRAIN_S: Final = 5.0  # within the server's grace, which it also needs for what is under way
EACH_S: Final = 0.002


def moment(connections: int) -> float:
    """For one of so many connections: in how many seconds it is closed (3001)."""
    return random.uniform(0, min(DRAIN_S, connections * EACH_S))  # noqa: S311 - no secret
