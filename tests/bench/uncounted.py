"""`maycole serve` that counts nobody's requests: what the limiter costs is the difference."""

import sys
from typing import Any

from app import cli
from app.pipeline.leases import Leases
from app.pipeline.limiter import Room, Verdict

if __name__ == "__main__":

    async def take(self: Leases, draws: Any, wanted: int = 1) -> Verdict:
        """Everybody is let in."""
        return Verdict(wanted, tuple(Room(1, 1.0) for _ in draws))

    Leases.take = take  # type: ignore[method-assign]  # that is what it is for
    cli.main(sys.argv[1:])
