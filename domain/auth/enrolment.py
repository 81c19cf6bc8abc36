"""Enrolling an authenticator app: its secret, its confirmation, its recovery codes, its end.

Owns    mfa_factors, recovery_codes
Says    auth.factor_started, auth.factor_added, auth.factor_removed, auth.recovery_codes_renewed,
        auth.second_factor_failed
Rules   a secret counts for nothing until a code of it was shown, which may be guessed at no more than any
        other; after UNCONFIRMED_FOR it is void. What is confirmed is never overwritten.
"""

from datetime import timedelta
from typing import Final

from domain import crypto, db, ids, last_commit
from domain.actor import Actor
from domain.auth import mfa, recovery_codes, sessions, totp, undoing
from domain.auth.mfa_model import (
    FactorAdded,
    FactorRemoved,
    FactorStarted,
    NewTotp,
    RecoveryCodesRenewed,
    SecondFactorFailed,
    ShownCodes,
)
from domain.auth.ways_in import Way
from domain.clock import now
from domain.errors import Conflict, NotFound
from domain.record import record
from domain.users import service as users

UNCONFIRMED_FOR: Final = timedelta(minutes=15)


async def start(actor: Actor) -> NewTotp:
    """A secret for the caller's app, in place of one that was never confirmed.

    Raises Conflict `totp_enrolled`, Forbidden `step_up_required`.
    """
    await mfa.require_fresh(actor)
    factor_id, secret = ids.new("mfa"), totp.new_secret()
    async with db.transaction():
        await sessions.hold(actor)
        user = await users.me(actor)
        made = await db.fetchrow(
            """INSERT INTO mfa_factors (id, user_id, kind, secret, created_at) VALUES ($1, $2, 'totp', $3, $4)
               ON CONFLICT (user_id, kind) DO UPDATE
               SET id = EXCLUDED.id, secret = EXCLUDED.secret, created_at = EXCLUDED.created_at,
                   last_used_step = NULL
               WHERE mfa_factors.confirmed_at IS NULL RETURNING id""",
            factor_id,
            user.id,
            crypto.sealed(mfa.secret_place(factor_id), secret.encode()),
            now(),
        )
        if made is None:
            raise _enrolled()
        await record(actor, FactorStarted(team_id=user.personal_team_id, user_id=user.id))
    return NewTotp(secret=secret, otpauth_uri=totp.uri(secret, user.email))


async def confirm(actor: Actor, code: str) -> ShownCodes:
    """From now on signing in asks for a second factor; ten recovery codes, shown this once.

    Wrong ones are counted with those of signing in. Raises Conflict `totp_enrolled` or `totp_not_started`,
    Forbidden `wrong_code`, RateLimited `too_many_attempts`.
    """
    async with last_commit.concluding():
        await sessions.hold(actor)
        row = await db.fetchrow(
            """SELECT id, confirmed_at FROM mfa_factors
               WHERE user_id = $1 AND kind = 'totp' AND (confirmed_at IS NOT NULL OR created_at > $2)
               FOR UPDATE""",
            actor.user,
            now() - UNCONFIRMED_FOR,
        )
        if row is None:
            raise Conflict("Ask for a secret first: POST /api/auth/mfa/totp.", code="totp_not_started")
        if row["confirmed_at"] is not None:
            raise _enrolled()
        await mfa.hold(actor.user, code)
        # The code that confirms is used: it signs nobody in.
        right = totp.is_code(code) and await mfa.code_used(actor.user, code)
        if right:
            await mfa.right(actor.user)
            at = now()
            await db.execute("UPDATE mfa_factors SET confirmed_at = $2 WHERE id = $1", row["id"], at)
            codes = await recovery_codes.renew(actor.user)
            await mfa.passed_in_session(actor, ("otp", "mfa"))
            await record(actor, FactorAdded(team_id=_team(actor), user_id=actor.user, factor="totp"))
            await undoing.offer(actor, Way("totp", row["id"], "", at))
        else:
            failed = SecondFactorFailed(team_id=_team(actor), user_id=actor.user, factor="totp")
            await record(actor, failed)
    if not right:
        raise mfa.wrong_in_session()
    return ShownCodes(recovery_codes=codes)


async def remove(actor: Actor) -> None:
    """Signing in asks for a second factor no more; the recovery codes are void.

    Raises NotFound, Forbidden `step_up_required`.
    """
    await mfa.require_fresh(actor)
    async with db.transaction():
        await sessions.hold(actor)
        gone = await db.fetchrow(
            "DELETE FROM mfa_factors WHERE user_id = $1 AND kind = 'totp' RETURNING id", actor.user
        )
        if gone is None:
            raise NotFound.of("factor")
        await recovery_codes.void(actor.user)
        await record(actor, FactorRemoved(team_id=_team(actor), user_id=actor.user, factor="totp"))


async def renew_codes(actor: Actor) -> ShownCodes:
    """Ten new recovery codes; the old ones are void.

    Raises Conflict `no_second_factor`, Forbidden `step_up_required`.
    """
    await mfa.require_fresh(actor)
    async with db.transaction():
        await sessions.hold(actor)
        row = await db.fetchrow(
            """SELECT id FROM mfa_factors
               WHERE user_id = $1 AND kind = 'totp' AND confirmed_at IS NOT NULL FOR UPDATE""",
            actor.user,
        )
        if row is None:
            raise Conflict("Recovery codes are for an app that was confirmed.", code="no_second_factor")
        codes = await recovery_codes.renew(actor.user)
        renewed = RecoveryCodesRenewed(team_id=_team(actor), user_id=actor.user, left=len(codes))
        await record(actor, renewed)
    return ShownCodes(recovery_codes=codes)


def _team(actor: Actor) -> str:
    assert actor.personal_team_id is not None, "whoever is signed in has a personal team"
    return actor.personal_team_id


def _enrolled() -> Conflict:
    return Conflict("An authenticator app is enrolled already: remove it first.", code="totp_enrolled")
