"""Second factors, when they are asked for: in the second step of signing in, and before what is sensitive.

Says    auth.second_factor_asked, auth.second_factor_failed, auth.recovery_code_used, auth.stepped_up
Rules   a confirmed TOTP factor is what makes signing in ask for a second one; a recovery code or a passkey
        does in its place. Wrong ones are counted together for the account, and only somebody who has the
        first factor, or a session, can raise the count. Passkeys do not wait: they cannot be guessed.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from domain import crypto, db, last_commit
from domain.actor import Actor
from domain.auth import assertions, one_time, proofs, recovery_codes, throttle, totp
from domain.auth.assertions import Purpose, Refusal
from domain.auth.mfa_model import (
    Factor,
    RecoveryCodeUsed,
    SecondFactorAsked,
    SecondFactorFailed,
    SecondFactors,
    SteppedUp,
    SteppedUpUntil,
    StepUp,
)
from domain.auth.passkeys_model import Assertion, Options
from domain.auth.throttle import FACTORS, Key
from domain.clock import now
from domain.errors import Conflict, FieldError, Forbidden, Invalid, Unauthenticated, Unavailable
from domain.record import record
from domain.users import service as users

FRESH_FOR: Final = timedelta(minutes=10)
TOKEN_LASTS: Final = timedelta(minutes=5)
Proof = str | Assertion
_WRONG: Final = "This code or passkey is not right, or was used before."


class Shown(msgspec.Struct, frozen=True):
    """A second factor that was right: which, and how it is called in `amr` (RFC 8176)."""

    factor: Factor
    amr: tuple[str, ...]


async def enrolled(actor: Actor) -> SecondFactors:
    """What the caller's account has, and when their session last showed it."""
    row = await db.fetchrow(
        """SELECT (SELECT confirmed_at FROM mfa_factors WHERE user_id = $1 AND kind = 'totp')
                      AS totp_confirmed_at,
                  (SELECT count(*) FROM recovery_codes WHERE user_id = $1 AND used_at IS NULL)
                      AS recovery_codes_left,
                  (SELECT count(*) FROM passkeys WHERE user_id = $1) AS passkeys,
                  (SELECT second_factor_at FROM user_sessions WHERE id = $2 AND user_id = $1)
                      AS second_factor_at""",
        actor.user,
        actor.session_id,
    )
    assert row is not None, "it selects no rows from anywhere"
    return db.as_struct(SecondFactors, row)


async def require_fresh(actor: Actor) -> None:
    """Before what is sensitive: within FRESH_FOR, in this session, the caller has shown who they are.

    By a second factor, where there is one to ask for. Otherwise by having signed in, or by showing the
    password or a passkey again. Raises Forbidden `step_up_required`, with the `factors` that would do.
    """
    has = await require_second_factor(actor)
    row = await db.fetchrow(
        """SELECT greatest(s.created_at, s.proved_at, s.second_factor_at) AS shown_at,
                  u.password_hash IS NOT NULL AS has_password
           FROM user_sessions s JOIN users u ON u.id = s.user_id WHERE s.id = $1 AND s.user_id = $2""",
        actor.session_id,
        actor.user,
    )
    if row is not None and row["shown_at"] > now() - FRESH_FOR:
        return
    factors: list[Factor] = ["passkey"] if has.passkeys > 0 else []
    if row is not None and row["has_password"]:
        factors.append("password")
    raise Forbidden(
        "Show again who you are: POST /api/auth/mfa/step-up, or sign in again.",
        code="step_up_required",
        factors=factors,
    )


async def require_second_factor(actor: Actor) -> SecondFactors:
    """A second factor not older than FRESH_FOR in this session, where there is one to ask for.

    There is one if the account has a confirmed TOTP factor, or a passkey and the session has shown it before:
    whoever lost their only passkey and came in by password can still take it away. Why: docs/decisions/0022.
    Answers what there is. Raises Forbidden `step_up_required`.
    """
    has = await enrolled(actor)
    asked_for = has.totp_confirmed_at is not None or (has.second_factor_at is not None and has.passkeys > 0)
    if not asked_for or (has.second_factor_at is not None and has.second_factor_at > now() - FRESH_FOR):
        return has
    raise Forbidden(
        "Show a second factor first: POST /api/auth/mfa/step-up.",
        code="step_up_required",
        factors=_factors(has),
    )


async def gate(actor: Actor, proof: proofs.Proof, *, code: str | None = None) -> proofs.Proof:
    """The way past the second factor for somebody who has shown a first one: what they have shown altogether.

    Not inside a transaction: what a refusal leaves behind must last. Raises Unauthenticated
    `second_factor_required`, with what the second step needs, or `wrong_code`; RateLimited
    `too_many_attempts`.
    """
    if db.is_writing():
        raise RuntimeError("signing in happens in no transaction: a refusal would roll back what it leaves")
    user_id, team_id = proof.user_id, proof.personal_team_id
    account = actor.acting_as(user_id, personal_team_id=team_id)
    has = await enrolled(account)
    if has.totp_confirmed_at is None:
        return proof
    if code is None:
        async with db.transaction():
            await users.lock(user_id)
            token = await one_time.issue("mfa", lasts=TOKEN_LASTS, user_id=user_id, data=proofs.kept(proof))
            await record(actor, SecondFactorAsked(team_id=team_id, user_id=user_id))
        raise Unauthenticated(
            "Show a second factor: POST /api/auth/mfa/verify with this token and a code.",
            code="second_factor_required",
            mfaToken=token,
            factors=_factors(has),
        )
    async with db.transaction():
        await hold(user_id, code)
        shown = await prove(actor, account, code)
    if shown is None:
        raise wrong_at_sign_in()
    return msgspec.structs.replace(proof, amr=proof.amr + shown.amr, second_factor_at=now())


async def hold(user_id: str, proof: Proof) -> None:
    """Let nobody else try for this account until the transaction ends, nor take it back or close it.

    What could be guessed is counted, as one that fails: `right` takes that back, and so does a rollback.
    Raises RateLimited `too_many_attempts` while there is a wait.
    """
    await users.lock(user_id)
    if isinstance(proof, str):
        # A passkey cannot be guessed: counting it would let strangers keep the owner waiting.
        await throttle.check([_counter(user_id)])


async def right(user_id: str) -> None:
    """A second factor of this account was right: no failure is held against them any more."""
    await throttle.cleared([_counter(user_id)])


async def prove(
    actor: Actor, account: Actor, proof: Proof, *, purpose: Purpose = "passkey_second_factor"
) -> Shown | None:
    """The second factor of `account`, if it is one; None leaves what `hold` has counted, and says so.

    `actor` is who shows it, which need not be known yet. In the same transaction, after `hold`.
    """
    assert account.personal_team_id is not None, "an account has a personal team"
    shown, reason = await _judged(actor, account, proof, purpose)
    if shown is None:
        failure = SecondFactorFailed(
            team_id=account.personal_team_id, user_id=account.user, factor=_kind(proof), reason=reason
        )
        await record(actor, failure)
    else:
        await right(account.user)
    return shown


async def code_used(user_id: str, code: str) -> bool:
    """Whether this is a code of the user's app, confirmed or not yet, that nobody has used; it is used now.

    The newest step only ever goes up, in one UPDATE: of all who show a code, one passes.
    """
    row = await db.fetchrow(
        "SELECT id, secret FROM mfa_factors WHERE user_id = $1 AND kind = 'totp'", user_id
    )
    if row is None:
        return False
    try:
        secret = crypto.opened(secret_place(row["id"]), row["secret"]).decode()
    except crypto.UnknownKey as unknown:
        raise Unavailable("Keys are being changed: try again.", code="busy", retryAfter=5) from unknown
    step = totp.step_of(secret, code, now())
    if step is None:
        return False
    raised = await db.fetchrow(
        """UPDATE mfa_factors SET last_used_step = $2
           WHERE id = $1 AND (last_used_step IS NULL OR last_used_step < $2) RETURNING id""",
        row["id"],
        step,
    )
    return raised is not None


async def step_up_options(actor: Actor) -> Options:
    """A challenge for a passkey of the caller, for this session."""
    return await assertions.options("passkey_step_up", user_id=actor.user, session_id=actor.session_id)


async def step_up(actor: Actor, given: StepUp) -> SteppedUpUntil:
    """Show a second factor again, in this session.

    Raises Conflict `no_second_factor`, Forbidden `wrong_code`, RateLimited `too_many_attempts`.
    """
    if actor.session_id is None:
        raise Forbidden("Only a session steps up.", code="no_session")
    proof = one_of(given.code, given.credential)
    has = await enrolled(actor)
    if has.totp_confirmed_at is None and has.passkeys == 0:
        raise Conflict("There is no second factor to show.", code="no_second_factor")
    async with last_commit.concluding():
        await hold(actor.user, proof)
        shown = await prove(actor, actor, proof, purpose="passkey_step_up")
        if shown is not None:
            at = await passed_in_session(actor, shown.amr)
            assert actor.personal_team_id is not None, "whoever is signed in has a personal team"
            await record(
                actor, SteppedUp(team_id=actor.personal_team_id, user_id=actor.user, factor=shown.factor)
            )
    if shown is None:
        raise wrong_in_session()
    return SteppedUpUntil(second_factor_at=at, fresh_until=at + FRESH_FOR)


async def passed_in_session(actor: Actor, amr: Sequence[str]) -> datetime:
    """The session has shown a second factor now, in these ways too."""
    at = now()
    await db.execute(
        """UPDATE user_sessions
           SET second_factor_at = $3, amr = amr || ARRAY(SELECT way FROM unnest($4::text[]) way
                                                         WHERE way <> ALL (amr))
           WHERE id = $1 AND user_id = $2""",
        actor.session_id,
        actor.user,
        at,
        list(amr),
    )
    return at


def secret_place(factor_id: str) -> str:
    """Where the secret of a factor is kept, for domain/crypto.py."""
    return f"mfa_factors/{factor_id}/secret"


def one_of(code: str | UnsetType, credential: Assertion | UnsetType) -> Proof:
    """What was given: a code or a passkey. Raises Invalid for neither and for both."""
    if isinstance(code, str) and credential is UNSET:
        return code
    if isinstance(credential, Assertion) and code is UNSET:
        return credential
    detail = "Send either a code or a passkey."
    raise Invalid(detail, errors=(FieldError("/code", "required", detail),))


def wrong_at_sign_in() -> Unauthenticated:
    """The same words for whatever was wrong with it."""
    return Unauthenticated(_WRONG, code="wrong_code")


def wrong_in_session() -> Forbidden:
    """The same, for somebody who is signed in."""
    return Forbidden(_WRONG, code="wrong_code")


async def _judged(actor: Actor, account: Actor, proof: Proof, purpose: Purpose) -> tuple[Shown | None, str]:
    """What was shown, or the reason why not."""
    if isinstance(proof, Assertion):
        session_id = actor.session_id if purpose == "passkey_step_up" else None
        judged = await assertions.judge(proof, purpose, user_id=account.user, session_id=session_id)
        if isinstance(judged, Refusal):
            return None, judged.reason
        return Shown("passkey", judged.amr), ""
    if (await enrolled(account)).totp_confirmed_at is None:
        return None, "no such factor"
    if totp.is_code(proof):
        is_right = await code_used(account.user, proof)
        return (Shown("totp", ("otp", "mfa")) if is_right else None), "wrong code"
    if not await recovery_codes.use(account.user, proof):
        return None, "wrong code"
    assert account.personal_team_id is not None, "an account has a personal team"
    left = await recovery_codes.left(account.user)
    used = RecoveryCodeUsed(team_id=account.personal_team_id, user_id=account.user, left=left)
    await record(actor, used)
    return Shown("recovery_code", ("otp", "mfa")), ""


def _kind(proof: Proof) -> Factor:
    if isinstance(proof, Assertion):
        return "passkey"
    return "totp" if totp.is_code(proof) else "recovery_code"


def _factors(has: SecondFactors) -> list[Factor]:
    there: dict[Factor, bool] = {
        "totp": has.totp_confirmed_at is not None,
        "recovery_code": has.recovery_codes_left > 0,
        "passkey": has.passkeys > 0,
    }
    return [factor for factor, is_there in there.items() if is_there]


def _counter(user_id: str) -> Key:
    return Key(f"factors:{user_id}", FACTORS, own=True)  # an id tells nobody's address: it needs no hash
