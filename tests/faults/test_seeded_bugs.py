"""The harness finds every bug that is seeded, and nothing where there is none."""

import pytest

from tests.faults.field import Field
from tests.faults.probe import caught, hunt
from tests.faults.seeded import BUGS


async def test_nothing_is_found_where_there_is_no_bug(field: Field) -> None:
    verdict = await hunt(field, "none")
    assert verdict.committed > 300, "something must be written for this to mean anything"
    assert not verdict.findings, verdict.said()


@pytest.mark.parametrize("bug", BUGS)
async def test_each_seeded_bug_is_caught(field: Field, bug: str) -> None:
    verdict = await hunt(field, bug)
    assert caught(bug, verdict), f"{bug} went unnoticed; found: {verdict.said()}"
