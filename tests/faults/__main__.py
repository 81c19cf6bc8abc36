"""python -m tests.faults [scenario ...]: the long tier. One table, and 1 as exit status on any violation.

Scenarios are run one after another, each on servers and apps of its own. Times are printed beside their
bars; what makes a run fail is in the columns that must be 0, or said to be BROKEN. Of times only those of
`overload` are judged, by bars that a slow machine does not fail (docs/reliability.md).
"""

import argparse
import signal
import sys
import time
from collections.abc import Sequence

import uvloop

from tests.faults.field import field, seeded
from tests.faults.probe import caught, hunt
from tests.faults.scenario import Outcome, Scale, table
from tests.faults.scenarios import SCENARIOS, overload
from tests.faults.seeded import BUGS, OTHERS
from tests.ground import temporary_ground

SEEDED = "seeded"
LAST_LINES = 30


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    names = [*SCENARIOS, SEEDED]
    parser.add_argument("names", nargs="*", metavar="scenario", help=", ".join(names))
    parser.add_argument(
        "--scale", type=float, default=1.0, help="0: the least that means anything; 1 (default): all of it"
    )
    parser.add_argument("--seed", type=int, default=1, help="of everything that is drawn at random")
    given = parser.parse_args()
    if unknown := set(given.names) - set(names):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    # A terminated run ends like an interrupted one: everything it started is stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        good = uvloop.run(_run(given.names or names, Scale(given.scale, given.seed)))
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0 if good else 1)


async def _run(names: Sequence[str], scale: Scale) -> bool:
    outcomes: list[Outcome] = []
    unnoticed: list[str] | None = None
    try:
        for name in names:
            began = time.monotonic()
            if name == SEEDED:
                unnoticed = await _seeded()
            else:
                outcomes.append(await _scenario(name, scale))
            print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    finally:
        # What was shown until one broke down was shown all the same.
        if outcomes:
            print(*table(outcomes), sep="\n", flush=True)
    if unnoticed is not None:
        count = len(BUGS) + len(OTHERS)
        print(f"\nseeded bugs caught {count - len(unnoticed)} of {count}")
    return not unnoticed and all(outcome.good for outcome in outcomes)


async def _scenario(name: str, scale: Scale) -> Outcome:
    """One scenario on a field of its own; what was found goes to stderr at once."""
    with temporary_ground("faults") as ground:
        async with field(ground, apps=SCENARIOS[name].apps) as opened:
            try:
                outcome = await SCENARIOS[name].run(opened, scale)
            except BaseException:
                print(*opened.log.read_text().splitlines()[-LAST_LINES:], sep="\n", file=sys.stderr)
                raise
            if errors := opened.errors():
                outcome.broken.append(f"{len(errors)} mistakes in the logs, the first: {errors[0]:.300}")
                print(*errors[:LAST_LINES], sep="\n", file=sys.stderr)
    if not outcome.good:
        print(outcome.said(), file=sys.stderr)
    return outcome


async def _seeded() -> list[str]:
    """Which bugs went unnoticed; `none` if something was found where there is no bug."""
    unnoticed = []
    with temporary_ground("faults") as ground:
        async with field(ground, apps=1) as opened:
            if (clean := await hunt(opened, "none")).findings:
                print(clean.said(), file=sys.stderr)
                unnoticed.append("none")
            for bug in BUGS:
                verdict = await hunt(opened, bug)
                found = sorted({finding.kind for finding in verdict.findings})
                print(f"  {bug}: {', '.join(found) or 'nothing'}", file=sys.stderr, flush=True)
                if not caught(bug, verdict):
                    unnoticed.append(bug)
            outcome = await overload.run(opened, Scale(), seeded("never-refuses", "serve"))
            print(f"  never-refuses: {', '.join(outcome.broken) or 'nothing'}", file=sys.stderr, flush=True)
            if not outcome.broken:
                unnoticed.append("never-refuses")
    return unnoticed


if __name__ == "__main__":
    main()
