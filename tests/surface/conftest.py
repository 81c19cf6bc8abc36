"""What the tests of the surface share."""

from typing import Any

import pytest

from tests.authz.scene import Scene, settle
from tests.factories import Api


@pytest.fixture(scope="module")
async def scene(api: Api) -> Scene:
    """Two tenants and everybody who might ask; one for each file."""
    return await settle(api)


@pytest.fixture(scope="module")
async def document(api: Api) -> dict[str, Any]:
    """The OpenAPI document, as it is served."""
    found: dict[str, Any] = (await api.call("GET", "/docs/openapi.json")).json()
    return found
