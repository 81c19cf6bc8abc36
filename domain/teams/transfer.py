"""Handing a team over, by two: an owner offers it, the other accepts.

Rules   a team has one offer at a time, good for OFFERED_FOR, to somebody who is in it; whoever made it is an
        owner still when it is accepted, and an admin afterwards. Who leaves the team leaves the offer too.
"""

from datetime import timedelta
from typing import Final

from domain import db, mail
from domain.actor import Actor
from domain.clock import now
from domain.errors import Conflict, NotFound
from domain.record import record
from domain.teams import membership, policy
from domain.teams.tables import TeamTransfers
from domain.teams.transfer_model import (
    NewTransfer,
    Transfer,
    TransferAccepted,
    TransferDeclined,
    TransferOffered,
    TransferWithdrawn,
)

OFFERED_FOR: Final = timedelta(days=7)


async def offer(actor: Actor, team_id: str, new: NewTransfer) -> Transfer:
    """Offer the team to a member, who is told live and, at an address that is confirmed, by mail.

    Raises Conflict `not_an_owner`, `personal_team`, `own_team`, `transfer_pending`; NotFound for who is no
    member. That the caller has shown of late who they are is for the route to ask.
    """
    async with db.transaction():
        await membership.lock(team_id)
        own = await policy.require(actor, team_id, "team:transfer")
        if own.name != "owner":
            raise Conflict("Only an owner hands a team over.", code="not_an_owner")
        if (await membership.team(team_id)).personal:
            raise Conflict("A personal team stays with its person.", code="personal_team")
        if new.user_id == actor.user:
            raise Conflict("This team is yours already.", code="own_team")
        member = await membership.one(team_id, new.user_id)
        if await _pending(team_id) is not None:
            raise Conflict("Take the other offer back first.", code="transfer_pending")
        at = now()
        made = Transfer(
            team_id=team_id,
            from_user_id=actor.user,
            to_user_id=member.user_id,
            created_at=at,
            expires_at=at + OFFERED_FOR,
        )
        await _forget(team_id)  # one that has run out
        await TeamTransfers.insert(
            TeamTransfers(
                team_id=team_id,
                from_user_id=made.from_user_id,
                to_user_id=made.to_user_id,
                created_at=made.created_at,
                expires_at=made.expires_at,
            )
        )
        await record(actor, TransferOffered(team_id=team_id, transfer=made))
        address = await _confirmed_address(made.to_user_id)
        # No name is in it: what people call themselves and their teams is no text of ours.
        if address is not None and mail.is_deliverable(address):
            await mail.send(address, "team_transfer", days=str(OFFERED_FOR.days))
    return made


async def get(actor: Actor, team_id: str) -> Transfer:
    """The offer, for owners and for whom it is made to. Raises NotFound where there is none."""
    role = await policy.require(actor, team_id, "team:read")
    pending = await _pending(team_id)
    if pending is None or pending.to_user_id != actor.user:
        await policy.require_grant(actor, team_id, role, "team:transfer")
    if pending is None:
        raise NotFound.of("transfer")
    return pending


async def accept(actor: Actor, team_id: str) -> Transfer:
    """The caller is the owner from now on, and whoever offered it an admin: one commit.

    Raises NotFound where nothing is offered to them, Conflict `not_an_owner` where it was not theirs to give.
    """
    async with db.transaction():
        pending = await _offered(actor, team_id)
        giver = await membership.one(team_id, pending.from_user_id)
        taker = await membership.one(team_id, actor.user)
        if giver.role != "owner":
            raise Conflict("Whoever offered it is no owner any more.", code="not_an_owner")
        await _forget(team_id)
        if taker.role != "owner":
            await membership.set_role(actor, taker, "owner")
        before = await membership.team(team_id)
        if before.owner_id != actor.user:
            await membership.hand_over(actor, before, actor.user)
        await membership.set_role(actor, giver, "admin")
        await membership.settle()
        await record(actor, TransferAccepted(team_id=team_id, transfer=pending))
    return pending


async def decline(actor: Actor, team_id: str) -> None:
    """The caller does not want it. Raises NotFound where nothing is offered to them."""
    async with db.transaction():
        pending = await _offered(actor, team_id)
        await _forget(team_id)
        await record(actor, TransferDeclined(team_id=team_id, transfer=pending))


async def withdraw(actor: Actor, team_id: str) -> None:
    """Any owner takes the offer back. Raises NotFound where there is none."""
    async with db.transaction():
        await membership.lock(team_id)
        await policy.require(actor, team_id, "team:transfer")
        pending = await _pending(team_id)
        if pending is None:
            raise NotFound.of("transfer")
        await _forget(team_id)
        await record(actor, TransferWithdrawn(team_id=team_id, transfer=pending))


async def _offered(actor: Actor, team_id: str) -> Transfer:
    """What is offered to the caller, who is in the team; the team is locked from now on."""
    await membership.lock(team_id)
    await policy.require(actor, team_id, "team:read")
    pending = await _pending(team_id)
    if pending is None or pending.to_user_id != actor.user:
        raise NotFound.of("transfer")
    return pending


async def _pending(team_id: str) -> Transfer | None:
    row = await db.fetchrow(
        "SELECT * FROM team_transfers WHERE team_id = $1 AND expires_at > $2", team_id, now()
    )
    return db.as_struct(Transfer, row) if row else None


async def _forget(team_id: str) -> None:
    await TeamTransfers.delete().where(TeamTransfers.team_id == team_id)


async def _confirmed_address(user_id: str) -> str | None:
    """Where mail reaches the person, if they have shown that it does; None for an account that is shut."""
    found: str | None = await db.fetchval(
        """SELECT email::text FROM users
           WHERE id = $1 AND email_verified_at IS NOT NULL AND disabled_at IS NULL""",
        user_id,
    )
    return found
