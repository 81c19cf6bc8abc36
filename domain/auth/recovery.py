"""Passwords that are forgotten, and passwords that are changed.

Rules   asking for a link answers the same for every address: a job looks whether there is an account. A new
        password by a link ends every session and API key; a change ends the other sessions. Both are told to
        the owner by mail, with what else opens the account: that stays, for it may be all that they have.
"""

from datetime import timedelta
from typing import Final

from domain import db, jobs, last_commit, links
from domain.actor import Actor
from domain.auth import (
    api_keys,
    attempts,
    mfa,
    one_time,
    passwords,
    post,
    sessions,
    takeover,
    throttle,
    verification,
    ways_in,
)
from domain.auth.mails_model import (
    Asked,
    NewPassword,
    PasswordChange,
    PasswordChanged,
    PasswordRefused,
    PasswordReset,
    PasswordResetRequested,
)
from domain.errors import Forbidden, Unavailable
from domain.record import record
from domain.users import service as users
from domain.users.model import User

PURPOSE: Final = "reset_password"
LASTS: Final = timedelta(hours=1)
FORGOT: Final = jobs.Job("auth.forgot_password", Asked, secret=True)


async def forgot(actor: Actor, email: str) -> None:
    """Have a link mailed, if there is an account; whether there is one is nowhere to be seen."""
    async with db.transaction():
        key = await one_time.fingerprint(email)
        await jobs.enqueue(FORGOT, Asked(actor=actor, email=email), dedupe_key=key)


@FORGOT.handler
async def send_link(asked: Asked) -> None:
    """The link, at most once a minute; the one before is good no more."""
    async with db.transaction():
        user = await users.named(asked.email)
        if user is None or user.disabled_at is not None:
            return
        if not await post.first_in_a_while(PURPOSE, user.email):
            return
        token = await one_time.issue(PURPOSE, lasts=LASTS, user_id=user.id, email=user.email)
        await post.tell(user.email, "reset_password", name=user.name, link=links.to("reset-password", token))
        await record(asked.actor, PasswordResetRequested(team_id=user.personal_team_id, user_id=user.id))


async def reset(actor: Actor, given: NewPassword) -> None:
    """Choose a new password by a link: sessions and API keys end, other ways in stay and are named in a mail.

    Raises Invalid `link_invalid`, or for a password that is none.
    """
    held = await one_time.peek(PURPOSE, given.token)
    user = await verification.holder(held)
    await passwords.check(given.password, email=user.email, name=user.name)
    password_hash = await passwords.hashed(given.password)
    async with last_commit.concluding():
        user = await verification.holder(await one_time.consume(PURPOSE, given.token))
        actor = actor.acting_as(user.id, personal_team_id=user.personal_team_id)
        await verification.proven(actor, user, takes_over=True)
        await users.set_password(user.id, password_hash)
        await one_time.void(user.id, *takeover.LINKS_IN)
        await sessions.end_all(actor, "password_reset", of=user.id)
        # A key acts without any password: whoever had the old one may have made some.
        await api_keys.end_all(actor, user.id)
        await _tell(actor, user, PasswordReset)


async def change(actor: Actor, given: PasswordChange) -> None:
    """Another password; the caller's other sessions end. Raises Forbidden `wrong_password`, Invalid."""
    known = await prove(actor, given.current_password)
    user = await users.me(actor)
    await passwords.check(given.password, email=user.email, name=user.name)
    password_hash = await passwords.hashed(given.password)
    async with last_commit.concluding():
        await sessions.hold(actor)
        user = await users.locked(actor.user)
        if await users.password_hash(user.id) != known:
            raise _wrong()  # somebody was faster, and the one that was shown is not the password any more
        await users.set_password(user.id, password_hash)
        await one_time.void(user.id, *takeover.LINKS_IN)
        await sessions.end_all(actor, "password_changed", but=actor.session_id)
        await _tell(actor, user, PasswordChanged)


async def prove(actor: Actor, password: str | None) -> str | None:
    """What is kept of the password that the caller has shown to know; None for an account without one.

    A second factor has to be fresh where there is one; without a password, the session (mfa.require_fresh).
    Guessing is slowed down as it is for signing in, by the same counters. Not in a transaction. Raises
    Forbidden `wrong_password`, `step_up_required`; RateLimited `too_many_attempts`.
    """
    known = await users.password_hash(actor.user)
    if known is None:
        await mfa.require_fresh(actor)
        return None
    await mfa.require_second_factor(actor)
    if password is None:
        raise _wrong()  # nothing was tried: it counts for nothing, so it may not leave rows without end
    counted = await attempts.begin(actor, (await users.me(actor)).email)
    try:
        right = await passwords.matches(known, password)
    except Unavailable:
        await throttle.untried(counted)
        raise
    if right:
        await throttle.cleared(counted)
        return known
    async with db.transaction():
        await record(actor, PasswordRefused(team_id=actor.team(None), user_id=actor.user))
    raise _wrong()


async def _tell(actor: Actor, user: User, kind: type[PasswordReset] | type[PasswordChanged]) -> None:
    """The trail and the owner, with what else opens the account."""
    left = await ways_in.beside_password(user.id)
    await record(actor, kind(team_id=user.personal_team_id, user_id=user.id, left=left))
    await post.notice(user, "password_changed", ways=ways_in.told(left))


def _wrong() -> Forbidden:
    return Forbidden("This is not the password of the account.", code="wrong_password")
