"""What the tests of the matrix share."""

import pytest

from tests.authz.performing import Stage
from tests.authz.scene import Scene, settle
from tests.factories import Api
from tests.mailbox import Mailbox


@pytest.fixture(scope="module")
async def scene(api: Api) -> Scene:
    """Two tenants and everybody who might ask; one for each file."""
    return await settle(api)


@pytest.fixture
def stage(scene: Scene, mailbox: Mailbox) -> Stage:
    """Where changes are done that are looked for in the trail."""
    return Stage(scene, mailbox)
