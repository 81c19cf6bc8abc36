"""Invites: asking somebody into a team by their address. What they answer: invite_answers.py.

Owns    team_invites
Says    teams.invited, teams.invite_resent, teams.invite_revoked
Rules   one invitation is pending for each team and address, and at most INVITES_MAX in a team; its link is
        good once, for LASTS. Nobody invites to more than they have, or takes such an
        invitation back. Whether an address has an account, or
        whose it is, is asked nowhere: what is answered is the same for all.
"""

from datetime import datetime, timedelta
from typing import Final

import asyncpg
import msgspec

from domain import channels, db, ids, jobs, mail, pages, streams
from domain.actor import Actor
from domain.clock import now
from domain.errors import Conflict, Invalid, NotFound
from domain.pages import Page
from domain.record import record
from domain.teams import invite_mails, membership, policy
from domain.teams.invites_model import Invite, Invited, InviteResent, InviteRevoked, InviteStatus, NewInvite
from domain.teams.tables import TeamInvites
from domain.users import service as users

INVITES_MAX = 100
LASTS: Final = timedelta(days=7)
FORGOTTEN_AFTER: Final = timedelta(days=90)
# $1 is the time: what is too old is expired from that moment on, whenever it is swept.
SELECT: Final = """SELECT i.id, i.team_id, i.email, i.role, i.expires_at, i.invited_by, i.created_at,
    i.updated_at,
    CASE WHEN i.status = 'pending' AND i.expires_at <= $1 THEN 'expired' ELSE i.status END AS status
    FROM team_invites i"""


async def page(
    actor: Actor, team_id: str, status: InviteStatus | None, *, limit: int, cursor: str | None
) -> tuple[Page[Invite], streams.Head]:
    """The team's invitations, newest first, and where `team:<teamId>` stood then."""
    scope = f"invites {actor.user} {team_id} {status}"
    before = pages.unseal(cursor, scope=scope)[0] if cursor else None
    await policy.require(actor, team_id, "invites:manage")
    async with streams.snapshot(channels.team(team_id)) as position:
        rows = await db.fetch(
            f"""SELECT * FROM ({SELECT} WHERE i.team_id = $2 AND ($3::text IS NULL OR i.id < $3)) AS found
                WHERE $4::text IS NULL OR status = $4 ORDER BY id DESC LIMIT $5""",  # noqa: S608 - no input in it
            now(),
            team_id,
            before,
            status,
            limit + 1,
        )
    page = pages.cut(rows, limit, scope=scope, key=lambda row: [row["id"]])
    return Page([db.as_struct(Invite, row) for row in page.items], page.next_cursor), position


async def invite(actor: Actor, team_id: str, new: NewInvite) -> Invite:
    """Mail somebody a link into the team.

    Raises Conflict `already_invited`, `too_many_invites`; Forbidden `role_above_own`; Invalid
    `undeliverable_address`; RateLimited `too_many_mails`.
    """
    if not mail.is_deliverable(new.email):
        raise Invalid("No mail can be sent to this address.", code="undeliverable_address")
    async with db.transaction():
        await membership.lock(team_id)
        await require_grant(actor, team_id, new.role)
        at = now()
        await _expire(team_id, at)
        await _require_room(team_id)
        made = Invite(
            id=ids.new("inv"),
            team_id=team_id,
            email=new.email,
            role=new.role,
            status="pending",
            expires_at=at + LASTS,
            invited_by=actor.user,
            created_at=at,
            updated_at=at,
        )
        token = invite_mails.new_token()
        await _insert(made, token)
        await _mail(actor, made, token)
        await record(actor, Invited(team_id=team_id, invite=made, before=None))
    return made


async def resend(actor: Actor, team_id: str, invite_id: str) -> Invite:
    """Mail another link, good for LASTS anew; the one before is dead. It stands in the caller's right now.

    Raises NotFound, Conflict `invite_closed`, `already_invited`, `too_many_invites`; Forbidden
    `role_above_own`; RateLimited `too_many_mails`.
    """
    async with db.transaction():
        await membership.lock(team_id)
        await policy.require(actor, team_id, "invites:manage", of="invite")
        before = await _one(team_id, invite_id)
        await require_grant(actor, team_id, before.role)
        if before.status not in ("pending", "expired"):
            raise Conflict(
                "This invitation was answered or taken back: make a new one.", code="invite_closed"
            )
        at = now()
        await _expire(team_id, at)
        if before.status == "expired":
            await _require_room(team_id)
        after = msgspec.structs.replace(
            before, status="pending", expires_at=at + LASTS, invited_by=actor.user, updated_at=at
        )
        token = invite_mails.new_token()
        await _renew(after, token)
        await _mail(actor, after, token)
        await record(actor, InviteResent(team_id=team_id, invite=after, before=before.status))
    return after


async def revoke(actor: Actor, team_id: str, invite_id: str) -> None:
    """Take an invitation back; twice is once.

    Raises NotFound, Forbidden `role_above_own`, Conflict `invite_closed` where it was answered.
    """
    async with db.transaction():
        await membership.lock(team_id)
        await policy.require(actor, team_id, "invites:manage", of="invite")
        before = await _one(team_id, invite_id)
        await require_grant(actor, team_id, before.role)
        if before.status == "revoked":
            return
        if before.status not in ("pending", "expired"):
            raise Conflict("This invitation was answered already.", code="invite_closed")
        await _revoke(actor, before)


async def revoke_all(actor: Actor, team_id: str) -> None:
    """Nobody comes into the team by what was mailed so far. The team is locked, and no right is asked."""
    rows = await db.fetch(f"{SELECT} WHERE i.team_id = $2 AND i.status = 'pending'", now(), team_id)
    for row in rows:
        await _revoke(actor, db.as_struct(Invite, row))


async def require_grant(actor: Actor, team_id: str, role: str) -> None:
    """Somebody may let others into the team as this: asked when they invite, and when it is accepted."""
    own = await policy.require(actor, team_id, "invites:manage")
    await policy.require_roles(actor, team_id, own, role)


async def end(invite: Invite, status: InviteStatus) -> Invite:
    """It has come to this end."""
    after = msgspec.structs.replace(invite, status=status, updated_at=now())
    await TeamInvites.update(
        {TeamInvites.status: after.status, TeamInvites.updated_at: after.updated_at}
    ).where(TeamInvites.id == invite.id)
    return after


@jobs.cron("teams.sweep_invites", every=timedelta(hours=1))
async def sweep() -> None:
    """What is too old is expired; what ended long ago is forgotten, with the address that it was for."""
    at = now()
    await db.execute(
        """UPDATE team_invites SET status = 'expired', updated_at = $1
           WHERE status = 'pending' AND expires_at <= $1""",
        at,
    )
    await db.execute(
        "DELETE FROM team_invites WHERE status <> 'pending' AND updated_at < $1", at - FORGOTTEN_AFTER
    )


async def _mail(actor: Actor, invite: Invite, token: str) -> None:
    inviter = await users.me(actor)
    await invite_mails.send(invite, token, inviter=inviter.name, at=invite.updated_at)


async def _expire(team_id: str, at: datetime) -> None:
    """What is too old keeps nobody from being invited anew."""
    await db.execute(
        """UPDATE team_invites SET status = 'expired', updated_at = $2
           WHERE team_id = $1 AND status = 'pending' AND expires_at <= $2""",
        team_id,
        at,
    )


async def _require_room(team_id: str) -> None:
    pending = await TeamInvites.count().where(TeamInvites.team_id == team_id, TeamInvites.status == "pending")
    if pending >= INVITES_MAX:
        raise Conflict(f"A team has at most {INVITES_MAX} open invitations.", code="too_many_invites")


async def _insert(made: Invite, token: str) -> None:
    try:
        await TeamInvites.insert(
            TeamInvites(
                id=made.id,
                team_id=made.team_id,
                email=made.email,
                role=made.role,
                status=made.status,
                token_hash=invite_mails.hashed(token),
                invited_by=made.invited_by,
                expires_at=made.expires_at,
                created_at=made.created_at,
                updated_at=made.updated_at,
            )
        )
    except asyncpg.UniqueViolationError as pending:
        raise _already_invited() from pending


async def _renew(after: Invite, token: str) -> None:
    try:
        await TeamInvites.update(
            {
                TeamInvites.status: after.status,
                TeamInvites.token_hash: invite_mails.hashed(token),
                TeamInvites.invited_by: after.invited_by,
                TeamInvites.expires_at: after.expires_at,
                TeamInvites.updated_at: after.updated_at,
            }
        ).where(TeamInvites.id == after.id)
    except asyncpg.UniqueViolationError as pending:
        raise _already_invited() from pending


def _already_invited() -> Conflict:
    return Conflict("This address is invited already: mail it again instead.", code="already_invited")


async def _one(team_id: str, invite_id: str) -> Invite:
    row = await db.fetchrow(f"{SELECT} WHERE i.team_id = $2 AND i.id = $3", now(), team_id, invite_id)
    if row is None:
        raise NotFound.of("invite")
    return db.as_struct(Invite, row)


async def _revoke(actor: Actor, before: Invite) -> None:
    after = await end(before, "revoked")
    await record(actor, InviteRevoked(team_id=before.team_id, invite=after, before=before.status))
