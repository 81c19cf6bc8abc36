"""The harness finds every bug that is seeded, and nothing where there is none."""

import pytest

from tests.faults.field import Field
from tests.faults.probe import CAUGHT_BY, caught, hunt


async def test_nothing_is_found_where_there_is_no_bug(field: Field) -> None:
    verdict = await hunt(field, "none")
    assert verdict.committed > 300, "something must be written for this to mean anything"
    assert not verdict.findings, verdict.said()


# One for each kind of finding here; all of them with `make faults ARGS=seeded`.
HERE = {kind: bug for bug, (_, kind) in reversed(CAUGHT_BY.items())}


@pytest.mark.parametrize("bug", HERE.values())
async def test_each_seeded_bug_is_caught(field: Field, bug: str) -> None:
    verdict = await hunt(field, bug)
    assert caught(bug, verdict), f"{bug} went unnoticed; found: {verdict.said()}"
