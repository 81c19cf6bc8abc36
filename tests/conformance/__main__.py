"""Other people's suites against us: `python -m tests.conformance [name ...]`.

autobahn     Autobahn's websocket cases, against the server as it is shipped
python       centrifuge-python's own tests
javascript   the JavaScript SDK over each of its transports, on two processes
fuzz         strange bytes for --seconds N; not part of a run without names

Prints what passed of what, for each; ends with 1 if anything did not.
"""

import argparse
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final

import uvloop

from tests.conformance import autobahn, fuzz, javascript, python_sdk
from tests.conformance.harness import Broken, Verdict
from tests.ground import temporary_ground

JUDGES: Final[dict[str, Callable[..., Awaitable[Verdict]]]] = {
    "autobahn": autobahn.judge,
    "python": python_sdk.judge,
    "javascript": javascript.judge,
    "fuzz": fuzz.judge,
}
WITHOUT_NAMES: Final = ("autobahn", "python", "javascript")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.conformance",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(JUDGES))
    parser.add_argument(
        "--only", metavar="WORD", help="of javascript: only `transport/theme` with this in it"
    )
    parser.add_argument("--seconds", type=float, default=60, metavar="N", help="of fuzz: how long (60)")
    given = parser.parse_args()
    names = given.names or WITHOUT_NAMES
    if unknown := set(names) - set(JUDGES):
        parser.error(f"no such judge: {', '.join(sorted(unknown))}")
    # A terminated run ends like an interrupted one: everything it started is stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        options = {"javascript": {"only": given.only or ""}, "fuzz": {"seconds": given.seconds}}
        good = [uvloop.run(_judge(name, options.get(name, {}))) for name in names]
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0 if all(good) else 1)


async def _judge(name: str, options: dict[str, Any]) -> bool:
    try:
        with temporary_ground("conformance") as ground:
            verdict = await JUDGES[name](ground, **options)
    except (Broken, TimeoutError, OSError) as broken:
        print(f"{name}: NO VERDICT: {broken or 'it took too long'}", flush=True)
        return False
    print(f"{name}: {verdict.passed} of {verdict.total} passed", flush=True)
    for note in verdict.notes:
        print(f"  {note}", flush=True)
    return verdict.good


if __name__ == "__main__":
    main()
