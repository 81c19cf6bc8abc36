"""python -m tests.exact: four processes ask at once, two hundred at a time; a hundred is a hundred."""

import asyncio
import sys
from typing import Final

import uvloop

from app.embedded import Embedded
from tests.counting import ASKED, AT_ONCE
from tests.ground import temporary_ground

PROCESSES: Final = 4
LIMIT: Final = 100
ROUNDS: Final = 20
SAYS_WITHIN_S: Final = 120


async def rounds(redis_url: str) -> list[list[int]]:
    """How many each of the processes was let in, in each round."""
    command = (sys.executable, "-m", "tests.counting", redis_url, str(LIMIT))
    pipe = asyncio.subprocess.PIPE
    processes = [
        await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe) for _ in range(PROCESSES)
    ]
    counts = []
    for number in range(ROUNDS):
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(f"exact:{number}\n".encode())
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
        counts = uvloop.run(rounds(servers.redis_url or ""))
    for each in counts:
        print(f"{PROCESSES * ASKED} asked, {PROCESSES * AT_ONCE} at once: {sum(each)} let in, {each}")
    sys.exit(any(sum(each) != LIMIT for each in counts))


if __name__ == "__main__":
    main()
