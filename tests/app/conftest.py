"""What the tests of the HTTP surface share."""

import pytest

from tests.app.company import Company, company
from tests.factories import Api


@pytest.fixture(scope="module")
async def team(api: Api) -> Company:
    """A team with somebody in every role, and a stranger; one for each file."""
    return await company(api)
