"""python -m tests.bench [name ...]: measure and print; without names, everything.

A benchmark asserts nothing about time. It exits with 1 where what it measured was not what it says.
"""

import argparse
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Final

import uvloop

from tests.bench import (
    audit,
    connects,
    credentials,
    enumeration,
    fanout,
    idle,
    latency,
    limiter,
    lines,
    rest,
    rights,
    shards,
    storm,
    wall,
)  # fmt: skip
from tests.bench.harness import Broken, raise_limits

BENCHMARKS: Final[dict[str, Callable[[], Awaitable[None]]]] = {
    "fanout": fanout.measure,
    "growth": fanout.growth,
    "latency": latency.measure,
    "limiter": limiter.measure,
    "lines": lines.measure,
    "audit": audit.measure,
    "connects": connects.measure,
    "credentials": credentials.measure,
    "enumeration": enumeration.measure,
    "idle": idle.measure,
    "rest": rest.measure,
    "rights": rights.measure,
    "storm": storm.measure,
    "shards": shards.measure,
    "wall": wall.measure,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(BENCHMARKS))
    names = parser.parse_args().names or list(BENCHMARKS)
    if unknown := set(names) - set(BENCHMARKS):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    # A terminated run ends like an interrupted one: everything it started is stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    raise_limits()  # what is started here inherits them
    for name in names:
        try:
            uvloop.run(_run(name))
        except (Broken, TimeoutError) as broken:
            print(f"\n{name}: NO FIGURE: {broken or 'it took too long'}", file=sys.stderr)
            sys.exit(1)
        except KeyboardInterrupt:
            sys.exit(130)


async def _run(name: str) -> None:
    await BENCHMARKS[name]()


if __name__ == "__main__":
    main()
