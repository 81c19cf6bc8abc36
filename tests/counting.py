"""python -m tests.counting <redis url> <limit>: one of several processes that count with each other.

stdin   a key a line
stdout  how many were let in for it, of as many as the limit is, AT_ONCE of them asking at a time
"""

import asyncio
import sys
from typing import Final

import uvloop

from app.pipeline import leases as leasing
from app.pipeline import limiter as module
from app.pipeline.leases import Leases
from app.pipeline.limiter import Limiter
from app.pipeline.policies import Policy

AT_ONCE: Final = 50


async def count(redis_url: str, limit: int) -> None:
    """Until stdin ends."""
    # How slow a machine is says nothing about counting. A lease that ends unused is missing.
    setattr(module, "WITHIN_S", 30.0)  # noqa: B010
    setattr(leasing, "LEASE_S", 60)  # noqa: B010
    limiter, policy = Limiter(redis_url), Policy(limit, by="address")
    leases = Leases(limiter)
    loop = asyncio.get_running_loop()
    while key := (await loop.run_in_executor(None, sys.stdin.readline)).strip():

        async def some(of: str) -> int:
            verdicts = [await leases.take([(of, policy)]) for _ in range(limit // AT_ONCE)]
            assert limiter.is_shared, "Redis was lost: nothing was shown"
            return sum(verdict.granted for verdict in verdicts)

        print(sum(await asyncio.gather(*(some(key) for _ in range(AT_ONCE)))), flush=True)
    await limiter.close()


if __name__ == "__main__":
    uvloop.run(count(sys.argv[1], int(sys.argv[2])))
