"""Servers of their own for the tests that stop and kill them."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest

from app.config import Config
from app.embedded import Embedded
from tests.faults import field as field_
from tests.faults.field import Field
from tests.processes import migrate


@pytest.fixture
def own_servers(ground: Path, request: pytest.FixtureRequest) -> Iterator[Embedded]:
    """A Postgres and a Redis that a test may stop: nobody else speaks or sweeps there."""
    with Embedded(ground / request.node.name[:20], durable=False) as started:
        yield started


@pytest.fixture
async def own_config(config: Config, own_servers: Embedded) -> Config:
    """The configuration of processes that use them."""
    own = msgspec.structs.replace(
        config, database_url=own_servers.database_url, redis_url=own_servers.redis_url
    )
    await migrate(own)
    return own


@pytest.fixture(scope="session")
async def field(ground: Path) -> AsyncIterator[Field]:
    """Two apps with servers of their own, all of which a scenario may break and makes whole again."""
    place = ground / "field"
    place.mkdir(mode=0o711)
    async with field_.field(place) as opened:
        yield opened
