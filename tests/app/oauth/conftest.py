"""What the tests of signing in with a provider share."""

import secrets
from collections.abc import AsyncIterator

import pytest

from tests.conftest import Served
from tests.doubles.world import World, world


@pytest.fixture(scope="package")
async def providers(served: Served) -> AsyncIterator[World]:
    async with world(served) as here:
        yield here


@pytest.fixture
async def here(providers: World) -> World:
    """The providers, all of them well-behaved at first."""
    await providers.reset()
    return providers


@pytest.fixture
def email() -> str:
    """An address that nobody has."""
    return f"pat-{secrets.token_hex(6)}@example.org"
