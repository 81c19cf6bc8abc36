"""Why a right was refused: for the platform's staff, who ask with `?explain=true`, and for nobody else.

To everyone else a team that is foreign, deleted or absent looks the same; so what tells them apart is read
only where it may be told, and it is told only when the row about that is in the team's trail.
"""

import asyncio
from contextvars import Context
from typing import Annotated, Final, Literal, Protocol

import msgspec
from msgspec import Meta

from domain import db
from domain.actor import Actor
from domain.errors import DomainError
from domain.events import Event, Resource
from domain.record import record

Rule = Annotated[
    Literal["team_absent", "team_deleted", "not_a_member", "permission_missing", "role_above_own"],
    Meta(description="which rule refused"),
]
# What a stranger to the team could not know.
_REVEALING: Final = frozenset({"team_deleted", "not_a_member"})


class Explanation(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Why a right was refused."""

    rule: Rule
    team_id: str
    permission: Annotated[str, Meta(description="what was needed, or one of what was")]
    role: Annotated[str | None, Meta(description="the caller's; null for a stranger")]
    permissions: Annotated[list[str], Meta(description="what that role grants")]


class RefusalExplained(Event, frozen=True, kw_only=True):
    """Staff were told why a team was closed to them."""

    type = "teams.refusal_explained"

    rule: str
    permission: str

    def resource(self) -> Resource:
        return Resource("team", self.team_id)

    def metadata(self) -> dict[str, str]:
        return {"rule": self.rule, "permission": self.permission}


class Granted(Protocol):
    """A role (policy.Role), of which this file needs no more."""

    @property
    def name(self) -> str: ...
    @property
    def permissions(self) -> frozenset[str]: ...


async def explained(
    actor: Actor, error: DomainError, team_id: str, permission: str, role: Granted | None
) -> DomainError:
    """The refusal, with an explanation where the caller is one who gets it."""
    if actor.explain:
        rule: Rule = "role_above_own" if error.problem == "role_above_own" else "permission_missing"
        explanation = Explanation(
            rule=rule if role is not None else await _why_a_stranger(team_id),
            team_id=team_id,
            permission=permission,
            role=role.name if role else None,
            permissions=sorted(role.permissions) if role else [],
        )
        if explanation.rule in _REVEALING:
            # In a context, and so in a transaction, of its own: the one under way is about to be refused.
            await asyncio.create_task(_leave_a_row(actor, explanation), context=Context())
        error.explanation = explanation
    return error


async def _leave_a_row(actor: Actor, told: Explanation) -> None:
    async with db.transaction():
        event = RefusalExplained(team_id=told.team_id, rule=told.rule, permission=told.permission)
        await record(actor, event)


async def _why_a_stranger(team_id: str) -> Rule:
    row = await db.fetchrow("SELECT deleted_at FROM teams WHERE id = $1", team_id)
    if row is None:
        return "team_absent"
    return "team_deleted" if row["deleted_at"] is not None else "not_a_member"
