"""`maycole keys rotate`: what is secret at rest, sealed again with the current key."""

import asyncio
from collections.abc import Callable

from app import secrets
from app.config import Config
from app.equipment import equip  # with it comes every kind of job, whose payloads are among what is sealed
from app.failed import CommandFailed
from app.jobs_cli import with_database
from domain import rotation

Say = Callable[[str], None]


class NotRotated(CommandFailed):
    """Some of it is sealed with a key that was not given."""


def rotate(config: Config, *, say: Say) -> None:
    """Raises NotRotated, OSError, asyncpg.PostgresError."""
    assert config.database_url is not None, "it was needed"
    secrets.install(config)
    equip(config)

    async def work() -> None:
        found = await rotation.rotate()
        for one in found:
            say(f"{one.name}: {one.resealed} sealed again")
        if lost := [f"{one.name}: {one.unopenable}" for one in found if one.unopenable]:
            raise NotRotated(f"no key that was given opens these:\n{chr(10).join(lost)}")
        say("nothing is left that needs the key before")

    asyncio.run(with_database(config.database_url, work))
