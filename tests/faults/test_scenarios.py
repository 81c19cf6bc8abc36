"""The short tier of every scenario: real processes, real faults, and nothing lost, doubled or disordered."""

import pytest

from tests.faults.field import Field
from tests.faults.scenario import Scale
from tests.faults.scenarios import SCENARIOS


@pytest.mark.parametrize("name", SCENARIOS)
async def test_the_promises_hold(field: Field, name: str) -> None:
    outcome = await SCENARIOS[name].run(field, Scale())
    assert outcome.verdict.committed > 20, "something must be written for this to mean anything"
    assert outcome.good, outcome.said()
