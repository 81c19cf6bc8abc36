"""Moving an account to another address.

Rules   both addresses agree, each by a link of its own: whoever has a session but not the mailbox moves
        nothing. An address that is taken is not told apart: there the mail says so to its owner. For a week
        the old address can take everything back by a link, and until then nobody else gets that address.
"""

from datetime import timedelta
from typing import Final

import asyncpg
import msgspec

from domain import db, ids, jobs, last_commit, links
from domain.actor import Actor
from domain.auth import one_time, post, recovery, sessions, takeover
from domain.auth.mails_model import (
    EmailChange,
    EmailChangeConfirmed,
    EmailChanged,
    EmailChangeRequested,
    EmailReverted,
)
from domain.auth.one_time import Token
from domain.clock import now
from domain.errors import FieldError, Invalid
from domain.record import record
from domain.teams import service as teams
from domain.users import service as users
from domain.users.model import User

PURPOSE: Final = "email_change"
REVERT: Final = "email_revert"
LASTS: Final = timedelta(days=1)
REVERT_LASTS: Final = timedelta(days=7)


class Moving(msgspec.Struct, frozen=True, kw_only=True):
    """A job: somebody who is signed in wants this address for their account."""

    actor: Actor
    email: str


MOVE: Final = jobs.Job("auth.change_email", Moving, secret=True)


async def request(actor: Actor, given: EmailChange) -> None:
    """Have both addresses asked.

    Raises Forbidden `wrong_password`, Invalid `same_address`.
    """
    await recovery.prove(actor, given.password)
    async with last_commit.concluding():
        await sessions.hold(actor)
        user = await users.locked(actor.user)
        if user.email.lower() == given.email.lower():
            detail = "This is the address that the account has."
            raise Invalid(detail, code="same_address", errors=(FieldError("/email", "same_address", detail),))
        asked = EmailChangeRequested(team_id=user.personal_team_id, user_id=user.id, email=given.email)
        await record(actor, asked)
        await jobs.enqueue(MOVE, Moving(actor=actor, email=given.email))


@MOVE.handler
async def ask_both(moving: Moving) -> None:
    """A link to each; where the new one is somebody's, they are told instead, and nothing can come of it."""
    async with db.transaction():
        user = await users.locked(moving.actor.user)
        if not await users.is_open(user.id) or not await post.first_in_a_while(PURPOSE, user.email):
            return
        await one_time.void(user.id, PURPOSE)
        data = {"change": ids.new("chg"), "to": moving.email}
        old, new = [
            await one_time.issue(
                PURPOSE, lasts=LASTS, user_id=user.id, email=user.email, data={**data, "side": side}
            )
            for side in ("old", "new")
        ]
        await post.tell(
            user.email,
            "confirm_email_old",
            name=user.name,
            email=moving.email,
            link=links.to("confirm-email", old),
        )
        if not await post.first_in_a_while(PURPOSE, moving.email):
            return
        taken = await users.named(moving.email)
        if taken is None and await _is_free(moving.email, user):
            link = links.to("confirm-email", new)
            await post.tell(moving.email, "confirm_email_new", name=user.name, link=link)
        elif taken is not None and taken.disabled_at is None:
            link = links.to("forgot-password")
            await post.tell(taken.email, "already_registered", name=taken.name, link=link)


async def confirm(actor: Actor, token: str) -> bool:
    """One of the two agrees; whether both have now, and the address is changed.

    Raises Invalid `link_invalid`, also where somebody else got the address meanwhile.
    """
    try:
        async with db.transaction():
            held = await one_time.consume(PURPOSE, token)
            user = await _owner(held)
            actor = actor.acting_as(user.id, personal_team_id=user.personal_team_id)
            await record(
                actor,
                EmailChangeConfirmed(team_id=user.personal_team_id, user_id=user.id, side=held.data["side"]),
            )
            left = await db.fetchval(
                """SELECT count(*) FROM one_time_tokens WHERE user_id = $1 AND purpose = $2
                   AND data ->> 'change' = $3 AND used_at IS NULL""",
                user.id,
                PURPOSE,
                held.data["change"],
            )
            if left == 0:
                await _move(actor, user, held)
            return bool(left == 0)
    except asyncpg.UniqueViolationError as taken:
        raise one_time.invalid() from taken


async def revert(actor: Actor, token: str) -> None:
    """The old address takes the account back: signed out everywhere, no password, no way in added since,
    nobody in the personal team who came since.

    Raises Invalid `link_invalid`.
    """
    try:
        await _revert(actor, token)
    except asyncpg.UniqueViolationError as taken:
        raise one_time.invalid() from taken


async def _revert(actor: Actor, token: str) -> None:
    async with db.transaction():
        held = await one_time.consume(REVERT, token)
        assert held.user_id is not None, "it is for a user"
        assert held.email is not None, "and for the address that they had"
        if not await users.is_open(held.user_id):
            raise one_time.invalid()
        before = await users.locked(held.user_id)
        actor = actor.acting_as(before.id, personal_team_id=before.personal_team_id)
        asked_after = held.created_at - LASTS
        # Before the address: an invitation under way holds the team, and then asks for the row of its user,
        # which another key (the address) would keep from it.
        await teams.alone_in_personal(actor, before.personal_team_id, since=asked_after)
        await one_time.unmark(takeover.RESERVED, held.email)
        after = await users.set_email(before, held.email, verified_at=now())
        await users.set_password(after.id, None)
        await sessions.end_all(actor, "email_reverted", of=after.id)
        await one_time.void(after.id, REVERT, *takeover.LINKS_IN)
        await takeover.forget_ways_in(actor, after.id, since=asked_after)
        await record(
            actor,
            EmailReverted(team_id=after.personal_team_id, user_id=after.id, before=before, after=after),
        )
        link = await one_time.issue(
            recovery.PURPOSE, lasts=recovery.LASTS, user_id=after.id, email=after.email, alone=True
        )
        await post.tell(after.email, "reset_password", name=after.name, link=links.to("reset-password", link))


async def _move(actor: Actor, before: User, held: Token) -> None:
    """The new address is the account's, and the old one gets the way back."""
    email = held.data["to"]
    after = await users.set_email(before, email, verified_at=now())
    if not await _is_free(email, before):
        raise one_time.invalid()
    await one_time.void(before.id, *takeover.LINKS_IN)
    # A sign-in that is under way may be about to link what has the old address.
    await users.next_epoch(before.id)
    # The new address may be one that a way back leads to: it is the account's again.
    await one_time.unmark(takeover.RESERVED, email)
    await one_time.unmark(takeover.RESERVED, before.email)
    await one_time.mark(takeover.RESERVED, before.email, lasts=REVERT_LASTS, user_id=before.id)
    await record(actor, EmailChanged(team_id=before.personal_team_id, before=before, after=after))
    token = await one_time.issue(REVERT, lasts=REVERT_LASTS, user_id=before.id, email=before.email)
    await post.tell(
        before.email, "email_changed", name=before.name, email=email, link=links.to("revert-email", token)
    )


async def _owner(held: Token) -> User:
    """Whose change it is, while the account is open and its address the one that was to change."""
    assert held.user_id is not None, "it is for a user"
    assert held.email is not None, "whose address it was at the time"
    user = await users.at_address(held.user_id, held.email)
    if user is None:
        raise one_time.invalid()
    return user


async def _is_free(email: str, user: User) -> bool:
    """Whether the address is not kept for somebody else who may take it back."""
    return await one_time.marked_by(takeover.RESERVED, email) in (None, user.id)
