"""Answers to invitations: accepting, declining, and asking for another link.

Says    teams.invite_accepted (and teams.member_added), teams.invite_declined, teams.invite_asked_again
Rules   whoever accepts is signed in, and has shown that the invited address is theirs. An invitation is worth
        what its inviter may grant at that moment: rights follow the database. A token says nothing about a
        team, and nothing about whose it is; one that is unknown, used, replaced or taken back is told alike.
"""

from datetime import timedelta
from typing import Final

from domain import db, jobs, mail
from domain.actor import Actor
from domain.clock import now
from domain.errors import Conflict, Forbidden, Invalid, NotFound
from domain.record import record
from domain.teams import invite_mails, invites, members, membership
from domain.teams.invites_model import AskedAgain, Invite, InviteAccepted, InviteAskedAgain, InviteDeclined
from domain.teams.model import Member, MemberAdded
from domain.users import service as users
from domain.users.model import PublicUser, User

ASKED_AGAIN_EVERY: Final = timedelta(days=1)
ASK_AGAIN: Final = jobs.Job("teams.invite_ask_again", AskedAgain, secret=True)


async def accept(actor: Actor, token: str) -> Member:
    """Come into the team; whoever is in it keeps the role that they have. Twice by the same is once.

    Raises Invalid `link_invalid`; Forbidden `email_not_verified`, `email_mismatch`; Conflict
    `invite_expired`, `invite_void`, `too_many_members`, `too_many_teams`.
    """
    async with db.transaction():
        invite = await _shown(token)
        user = await users.me(actor)
        _require_address(user, invite)
        member = await membership.find(invite.team_id, user.id)
        if invite.status == "accepted" and member is not None:
            return member
        _require_open(invite)
        if not await _is_worth_it(invite):
            raise Conflict(
                "Whoever invited you may not do so any more: ask for another invitation.",
                code="invite_void",
                askAgain="/api/invites/ask-again",
            )
        if member is None:
            await members.require_room(invite.team_id)
            joining = PublicUser(id=user.id, name=user.name)
            member = await membership.join(invite.team_id, joining, invite.role)
            await record(actor, MemberAdded(team_id=invite.team_id, member=member))
        after = await invites.end(invite, "accepted")
        await record(actor, InviteAccepted(team_id=invite.team_id, invite=after, before=invite.status))
    return member


async def decline(actor: Actor, token: str) -> None:
    """Say no, for which the link is enough. Twice is once. Raises Invalid `link_invalid`, Conflict
    `invite_expired`."""
    async with db.transaction():
        invite = await _shown(token)
        if invite.status == "declined":
            return
        _require_open(invite)
        after = await invites.end(invite, "declined")
        await record(actor, InviteDeclined(team_id=invite.team_id, invite=after, before=invite.status))


async def ask_again(actor: Actor, token: str) -> None:
    """Tell the team that a link was good no more; what comes of it is nowhere to be seen."""
    asked = AskedAgain(actor=actor, token_hash=invite_mails.hashed(token))
    async with db.transaction():
        await jobs.enqueue(ASK_AGAIN, asked, dedupe_key=asked.token_hash)


@ASK_AGAIN.handler
async def tell_team(asked: AskedAgain) -> None:
    """News for the team, and a mail to whoever invited, if they may still; once a day for each invitation."""
    async with db.transaction():
        invite = await _with_hash(asked.token_hash)
        if invite is None or invite.status not in ("pending", "expired"):
            return
        if invite.status == "pending" and await _is_worth_it(invite):
            return  # the link they have is good
        at = now()
        first = await db.fetchval(
            "UPDATE team_invites SET asked_at = $2 WHERE id = $1 AND (asked_at IS NULL OR asked_at <= $3) "
            "RETURNING true",
            invite.id,
            at,
            at - ASKED_AGAIN_EVERY,
        )
        if not first:
            return
        event = InviteAskedAgain(team_id=invite.team_id, invite=invite, before=invite.status)
        await record(asked.actor, event)
        if await _is_worth_it(invite):
            await _tell_inviter(invite)


async def _tell_inviter(invite: Invite) -> None:
    inviter = await users.me(Actor(user_id=invite.invited_by))
    team = await db.fetchval("SELECT name FROM teams WHERE id = $1", invite.team_id)
    if mail.is_deliverable(inviter.email):
        await mail.send(
            inviter.email,
            "invite_asked_again",
            name=mail.harmless(inviter.name) or "there",
            team=mail.harmless(team) or "a team",
            email=invite.email,
        )


async def _shown(token: str) -> Invite:
    """The invitation with this token, its team locked. Raises Invalid `link_invalid`."""
    invite = await _with_hash(invite_mails.hashed(token))
    if invite is None:
        raise _invalid()
    return invite


async def _with_hash(token_hash: str) -> Invite | None:
    """The team before the invitation, as all who change either do: what is read then stays so."""
    team_id = await db.fetchval("SELECT team_id FROM team_invites WHERE token_hash = $1", token_hash)
    if team_id is None:
        return None
    await membership.lock(team_id)
    row = await db.fetchrow(
        f"""{invites.SELECT} JOIN teams t ON t.id = i.team_id
            WHERE i.token_hash = $2 AND t.deleted_at IS NULL""",
        now(),
        token_hash,
    )
    return db.as_struct(Invite, row) if row else None


def _require_address(user: User, invite: Invite) -> None:
    """The caller has shown that the invited address is theirs. What is asked first tells nothing of it."""
    if user.email_verified_at is None:
        raise Forbidden("Confirm your e-mail address first.", code="email_not_verified")
    # ASCII case is all that may differ, though the database folds more: to it the Kelvin sign is a k.
    if user.email.encode().lower() != invite.email.encode().lower():
        raise Forbidden(
            "This invitation is for another address than your account has.", code="email_mismatch"
        )


def _require_open(invite: Invite) -> None:
    if invite.status == "expired":
        raise Conflict(
            "This invitation is too old. Ask for another: `POST /api/invites/ask-again` with the same token.",
            code="invite_expired",
            askAgain="/api/invites/ask-again",
        )
    if invite.status != "pending":
        raise _invalid()


async def _is_worth_it(invite: Invite) -> bool:
    """Whether whoever invited may still let somebody into the team as this."""
    if not await users.is_open(invite.invited_by):
        return False
    try:
        await invites.require_grant(Actor(user_id=invite.invited_by), invite.team_id, invite.role)
    except (Forbidden, NotFound, Invalid):
        return False  # or the role is no more: it was the team's own
    return True


def _invalid() -> Invalid:
    """What is said of every token that is no good, whatever the reason."""
    return Invalid("This invitation was answered already, or is good no more.", code="link_invalid")
