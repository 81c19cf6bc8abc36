"""Health: what this server's processes find out about those they depend on; news for the platform's staff.

Says    system.dependency_changed
Rules   it is no change of anybody's data, so no team's trail has it; each process speaks for itself.
"""

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from domain import channels, db
from domain.actor import Actor
from domain.events import Event, Resource
from domain.record import record

State = Literal["closed", "open", "half_open"]


class DependencyState(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """How a process fares with a service that it calls."""

    process: Annotated[str, Meta(description="whose finding it is: `<host>:<process id>`")]
    dependency: Annotated[str, Meta(description="the service, as in /api/health: `oauth.google`, `s3`, …")]
    state: Annotated[
        State,
        Meta(description="`closed`: called; `open`: left alone; `half_open`: tried carefully"),
    ]
    before: Annotated[State, Meta(description="the state before")]
    since: Annotated[datetime, Meta(description="when the state changed")]
    calls: Annotated[int, Meta(ge=0, description="the newest tries, which decided")]
    failures: Annotated[int, Meta(ge=0, description="how many of those failed")]


class DependencyChanged(Event, frozen=True, kw_only=True):
    """A process leaves a failing service alone, tries it again, or calls it as before."""

    type = "system.dependency_changed"
    in_the_trail = False
    team_id: str = ""
    now: DependencyState

    def resource(self) -> Resource:
        return Resource("dependency", self.now.dependency)

    def channels(self) -> tuple[str, ...]:
        return (channels.HEALTH,)

    def news(self) -> DependencyState:
        return self.now


async def say(state: DependencyState) -> None:
    """Tell the staff. Raises what is in db.UNREACHABLE."""
    async with db.transaction():
        await record(Actor(), DependencyChanged(now=state))
