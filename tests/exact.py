"""python -m tests.exact: four processes ask at once, two hundred at a time; a hundred is a hundred.

So is a thousand, of which they lease some (app/pipeline/leases.py).
"""

import asyncio
import sys
from typing import Final

import uvloop

from app.embedded import Embedded
from tests.counting import AT_ONCE
from tests.ground import temporary_ground

PROCESSES: Final = 4
LIMITS: Final = (100, 1000)
ROUNDS: Final = 20
SAYS_WITHIN_S: Final = 120


async def rounds(redis_url: str, limit: int) -> list[list[int]]:
    """How many each of the processes was let in, in each round."""
    command = (sys.executable, "-m", "tests.counting", redis_url, str(limit))
    pipe = asyncio.subprocess.PIPE
    processes = [
        await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe) for _ in range(PROCESSES)
    ]
    counts = []
    for number in range(ROUNDS):
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(f"exact:{limit}:{number}\n".encode())
        counts.append([await _count(process) for process in processes])
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
    return counts


async def _count(process: asyncio.subprocess.Process) -> int:
    assert process.stdout is not None
    return int(await asyncio.wait_for(process.stdout.readline(), SAYS_WITHIN_S))


def main() -> None:
    """Exits with 1 where it was one more or one less."""
    with temporary_ground("exact") as place, Embedded(place / "servers", durable=False) as servers:
        counts = {limit: uvloop.run(rounds(servers.redis_url or "", limit)) for limit in LIMITS}
    for limit, each in ((limit, each) for limit, found in counts.items() for each in found):
        print(f"{PROCESSES * limit} asked, {PROCESSES * AT_ONCE} at once: {sum(each)} let in, {each}")
    sys.exit(any(sum(each) != limit for limit, found in counts.items() for each in found))


if __name__ == "__main__":
    main()
