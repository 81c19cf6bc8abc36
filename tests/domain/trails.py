"""Audit trails of some length, sealed or not, and what is said of them."""

from collections.abc import Collection
from contextlib import nullcontext

from domain import db
from domain.actor import Actor
from domain.audit_logs import seals, verification
from domain.audit_logs.seals_model import Checkpoint
from domain.audit_logs.verification import Verified
from domain.clock import now
from domain.record import record
from domain.teams.model import Member, MemberRenamed
from tests.domain.people import somebody, team_of


async def trail(rows: int) -> tuple[Actor, str]:
    """A new team whose trail has so many rows (at least the two that come with a team), and its owner."""
    owner = await somebody()
    team_id = await team_of(owner)
    await lengthen(owner, team_id, rows - await length(team_id))
    return owner, team_id


async def lengthen(owner: Actor, team_id: str, rows: int) -> None:
    """So many rows more."""
    member = Member(team_id=team_id, user_id=owner.user, name="Ann", role="owner", joined_at=now())
    async with db.transaction():
        for nth in range(rows):
            await record(owner, MemberRenamed(team_id=team_id, member=member, before=f"Ann the {nth}th"))


async def length(team_id: str) -> int:
    rows: int = await db.fetchval("SELECT count(*) FROM audit_logs WHERE team_id = $1", team_id)
    return rows


async def seal_in_steps(owner: Actor, team_id: str, *steps: int) -> None:
    """What there is under one checkpoint, and then so many rows under the next, and so on."""
    await seals.seal(team_id)
    for rows in steps:
        await lengthen(owner, team_id, rows)
        await seals.seal(team_id)


async def verified(team_id: str, kept_elsewhere: Collection[Checkpoint] = ()) -> Verified:
    """What verification says, of what the transaction sees that is under way, or of what is committed."""
    async with nullcontext() if db.is_writing() else db.snapshot():
        return await verification.verify(team_id, kept_elsewhere)
