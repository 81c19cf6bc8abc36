"""The scenarios: each is a story of what breaks, played at any scale on a field of real processes."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from tests.faults.field import Field
from tests.faults.scenario import Outcome, Scale
from tests.faults.scenarios import (
    deploys,
    health,
    kills,
    overload,
    partitions,
    postgres_restarts,
    redis_away,
    retries,
    revocations,
    slow_clients,
    storm,
)


@dataclass(frozen=True)
class Scenario:
    """How it is played, and on how many apps in the long tier (the short tier has two for all)."""

    run: Callable[[Field, Scale], Awaitable[Outcome]]
    apps: int = 2


SCENARIOS: Final = {
    "kills": Scenario(kills.run, apps=3),
    "retries": Scenario(retries.run, apps=3),
    "redis-away": Scenario(redis_away.run),
    "postgres-restarts": Scenario(postgres_restarts.run),
    "partitions": Scenario(partitions.run),
    "rolling-restarts": Scenario(deploys.run),
    "revocations": Scenario(revocations.run),
    "slow-clients": Scenario(slow_clients.run, apps=1),
    "storm": Scenario(storm.run, apps=1),
    "overload": Scenario(overload.run, apps=1),
    "health": Scenario(health.run, apps=1),
}
