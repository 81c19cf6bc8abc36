"""Copies of checkpoints, kept where whoever has the database cannot reach: optional, and worth having.

Where the shell gives a place for them (install), each team's newest checkpoint is written there within a
minute of the first one that is not there yet.
"""

import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

import msgspec

from domain import jobs
from domain.audit_logs.seals_model import SignedCheckpoint

# Takes a name such as `audit/team_…/000000000042.json` and a JSON text. Raises where it is not kept, and
# FileExistsError where something else is kept under that name: nothing is ever written over.
Keep = Callable[[str, bytes], Awaitable[None]]
AFTER: Final = timedelta(minutes=1)
log = logging.getLogger("maycole.audit")


class Copy(msgspec.Struct, frozen=True):
    """Whose newest checkpoint is to be copied."""

    team_id: str


COPY: Final = jobs.Job("audit.copy_checkpoint", Copy)
_keep: Keep | None = None


def install(keep: Keep | None) -> None:
    """Keep copies with this function; None keeps none."""
    global _keep
    _keep = keep


async def enqueue(team_id: str) -> None:
    """Have the newest checkpoint of this team copied, once for all that come within AFTER."""
    if _keep is not None:
        await jobs.enqueue(COPY, Copy(team_id), after=AFTER, dedupe_key=team_id)


async def write(checkpoint: SignedCheckpoint) -> None:
    """Copy it. Raises jobs.GiveUp where another checkpoint with its number was copied before."""
    if _keep is None:
        return
    name = f"audit/{checkpoint.team_id}/{checkpoint.number:012}.json"
    try:
        await _keep(name, msgspec.json.encode(checkpoint) + b"\n")
    except FileExistsError as error:
        # Two histories: the database was put back to an earlier day, or signed again.
        log.critical("%s; it is kept: run `maycole audit verify --checkpoints` with it", error)
        raise jobs.GiveUp(str(error)) from error
