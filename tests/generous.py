"""python -m tests.generous <arguments of maycole>: the product, where one may ask as often as tests do.

All tests come from 127.0.0.1, and ask more in a minute than anybody may. Everything is counted as it is in
production, up to limits that nobody reaches. Tests of the limits themselves have servers with the real ones.
"""

import sys
from typing import Final

import msgspec

from app import cli
from app.pipeline import policies
from app.pipeline.policies import POLICIES, Limits

GENEROUS: Final = Limits(
    {name: msgspec.structs.replace(policy, limit=1_000_000) for name, policy in POLICIES.items()},
    connections_per_user=100_000,
)
COMMAND: Final = (sys.executable, "-m", "tests.generous")


def be_generous() -> None:
    """Let this process serve with these limits: no configuration leads to them."""
    setattr(policies, "LIMITS", GENEROUS)  # noqa: B010 - it is final for everybody else


if __name__ in ("__main__", "__mp_main__"):  # also in the workers that it starts
    be_generous()

if __name__ == "__main__":
    cli.main(sys.argv[1:])
