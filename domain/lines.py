"""Lines: where requests wait for Postgres, and for how long whoever is first in one has waited already.

One is before the pool (domain/connections.py). Who waits for an answer that somebody else has asked for does
not stand there (domain/coalesce.py, domain/memory.py): a database that is silent would hold up all of them,
and nobody would be seen to wait. What requests wait in adds itself:

    lines.of_process.append(waiting_s)

It says 0 where nobody waits, and costs next to nothing: load is measured by it (app/pipeline/load.py).
"""

from collections.abc import Callable
from typing import Final

of_process: Final[list[Callable[[], float]]] = []


def waiting_s() -> float:
    """For how long the first in any line has waited; 0 where nobody waits."""
    return max((line() for line in of_process), default=0.0)
