"""What the tests of the matrix share."""

import pytest

from tests.authz.scene import Scene, settle
from tests.factories import Api


@pytest.fixture(scope="module")
async def scene(api: Api) -> Scene:
    """Two tenants and everybody who might ask; one for each file."""
    return await settle(api)
