"""Attempts to sign in with a password: who may try now, and what the trail keeps of those that failed.

Rules   an account that does not exist, is disabled or has no password costs what another one does: as many
        hashes, statements and commits. So what fails for an address that nobody has is in the trail as well,
        in that of UNKNOWN, which belongs to no team. A wrong password leaves a row each, since they are few
        (throttle.py); attempts that are refused leave one a minute for what refused them, which counts them:
        that of an account in its own trail, that of an address, or of all, in the one of UNKNOWN.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from domain import db
from domain.actor import Actor
from domain.auth import throttle
from domain.auth.model import LoginFailed
from domain.auth.throttle import Key, TooMany
from domain.record import record
from domain.users import service as users
from domain.users.model import UNKNOWN_TEAM, UNKNOWN_USER
from domain.users.service import Credentials

TOLD_EVERY: Final = timedelta(minutes=1)


async def begin(actor: Actor, email: str) -> Sequence[Key]:
    """What this attempt is counted for. Raises RateLimited `too_many_attempts` where it has to wait.

    Not in a transaction: the counters must hold whatever becomes of it.
    """
    assert not db.is_writing(), "what is counted is committed at once"
    counted = await throttle.of_sign_in(email, actor.ip)
    try:
        await throttle.check(counted)
    except TooMany as refusal:
        await _refused(actor, email, refusal.key)
        raise
    return counted


async def failed(actor: Actor, known: Credentials | None) -> None:
    """It was the wrong password, or nobody's."""
    async with db.transaction():
        await record(actor, _event(known, reason="wrong_credentials"))


async def _refused(actor: Actor, email: str, by: Key) -> None:
    known = await users.credentials(email)
    async with db.transaction():
        attempts = await throttle.refused(by, TOLD_EVERY)
        if attempts is not None:
            whose = known if by.own else None
            await record(actor, _event(whose, reason="too_many_attempts", attempts=attempts))


def _event(known: Credentials | None, *, reason: str, attempts: int = 1) -> LoginFailed:
    return LoginFailed(
        team_id=known.personal_team_id if known else UNKNOWN_TEAM,
        user_id=known.id if known else UNKNOWN_USER,
        reason=reason,
        attempts=attempts,
    )
