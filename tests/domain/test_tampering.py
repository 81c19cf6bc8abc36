"""Whatever is done to an audit trail in the database is found: `make tampering` does 2,000 things to one."""

import os
import random
from collections import Counter

import pytest

from domain import db
from domain.audit_logs import seals
from domain.audit_logs.seals_model import Checkpoint
from tests.domain.alterations import INSIDER, OUTSIDER, Alteration
from tests.domain.trails import seal_in_steps, trail, verified

ALTERATIONS = int(os.environ.get("ALTERATIONS", "220"))

pytestmark = pytest.mark.usefixtures("url", "sealed_by_hand")


class Undo(Exception):
    """Rolls an alteration back."""


async def test_every_alteration_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    """Against checkpoints kept elsewhere all of them; without, all but those of somebody with our key."""
    owner, team_id = await trail(9)
    await seal_in_steps(owner, team_id, 1, 12, 5, 9, 2, 7)
    kept = (await seals.checkpoints(owner, team_id, limit=100, cursor=None)).items
    seed = random.randrange(1 << 32)  # noqa: S311 - chance, not a secret
    chance = random.Random(seed)  # noqa: S311 - as above
    done, found, alone = Counter[str](), Counter[str](), Counter[str]()
    missed: list[str] = []
    kinds = OUTSIDER + INSIDER
    for nth in range(ALTERATIONS):
        kind = kinds[nth % len(kinds)]
        what, by_itself, against = await altered(kind, chance, team_id, kept)
        done[kind.__name__] += 1
        alone[kind.__name__] += by_itself
        found[kind.__name__] += against
        if not against:
            missed.append(f"{kind.__name__}: {what}")
    assert (await verified(team_id, kept)).bad is None
    with capsys.disabled():
        print(f"\nalterations (seed {seed})   done  found by the database alone  against checkpoints")
        for kind in kinds:
            name = kind.__name__
            print(f"  {name:<24}{done[name]:>6}{alone[name]:>29}{found[name]:>21}")
    assert missed == []
    assert all(alone[kind.__name__] == done[kind.__name__] for kind in OUTSIDER)
    # What this cannot tell without a copy of its own, docs/audit.md says so.
    assert all(alone[kind.__name__] == 0 for kind in INSIDER)


async def altered(
    kind: Alteration, chance: random.Random, team_id: str, kept: list[Checkpoint]
) -> tuple[str, bool, bool]:
    """Do it, look, and undo it: what it was, whether it is found without checkpoints, and with them."""
    what, by_itself, against = "", False, False
    try:
        async with db.maintenance():
            await db.execute("SET LOCAL session_replication_role = replica")
            what = await kind(chance, team_id)
            by_itself = (await verified(team_id)).bad is not None
            against = (await verified(team_id, kept)).bad is not None
            raise Undo
    except Undo:
        return what, by_itself, against


@pytest.mark.parametrize("seq", [1, 10, 23, 45])
async def test_the_bad_row_is_named(seq: int) -> None:
    owner, team_id = await trail(9)
    await seal_in_steps(owner, team_id, 1, 12, 5, 9, 2, 7)
    try:
        async with db.maintenance():
            await db.execute("SET LOCAL session_replication_role = replica")
            await db.execute(
                "UPDATE audit_logs SET ip = '203.0.113.9' WHERE team_id = $1 AND seq = $2", team_id, seq
            )
            bad = (await verified(team_id)).bad
            raise Undo
    except Undo:
        assert bad is not None
        assert bad.seq == seq
