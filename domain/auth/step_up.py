"""Stepping up: showing again who one is, in a session that goes on.

Rules   a second factor does where there is one to ask for (mfa.py); elsewhere the password does. Both last as
        long, and for one session. Wrong passwords are counted with those of signing in.
"""

from msgspec import UNSET

from domain import db, last_commit
from domain.actor import Actor
from domain.auth import mfa, recovery, sessions
from domain.auth.mfa_model import SteppedUp, SteppedUpUntil, StepUp
from domain.clock import now
from domain.errors import Conflict, FieldError, Invalid
from domain.record import record


async def step_up(actor: Actor, given: StepUp) -> SteppedUpUntil:
    """For mfa.FRESH_FOR this session may do what is sensitive.

    Raises Forbidden `wrong_password`, or `step_up_required` where it takes a second factor; Conflict
    `no_password`; Invalid where not one thing was given; RateLimited; and what mfa.step_up does.
    """
    if given.password is UNSET:
        return await mfa.step_up(actor, given)
    if given.code is not UNSET or given.credential is not UNSET:
        detail = "Send one of a code, a passkey, and the password."
        raise Invalid(detail, errors=(FieldError("/password", "invalid", detail),))
    if await recovery.prove(actor, given.password) is None:
        raise Conflict("This account has no password: sign in again.", code="no_password")
    async with last_commit.concluding():
        await sessions.hold(actor)
        at = now()
        await db.execute("UPDATE user_sessions SET proved_at = $2 WHERE id = $1", actor.session_id, at)
        shown = SteppedUp(team_id=actor.team(None), user_id=actor.user, factor="password")
        await record(actor, shown)
    return SteppedUpUntil(second_factor_at=None, fresh_until=at + mfa.FRESH_FOR)
