"""The second step of signing in: the token of the first one, and a second factor.

Rules   the token is spent by whoever gets in, and by nobody else; it says who it is for, so a factor of
        somebody else is a wrong one.
"""

import msgspec

from domain import db
from domain.actor import Actor
from domain.auth import assertions, mfa, one_time, proofs
from domain.auth import service as auth
from domain.auth.mfa_model import SecondStep
from domain.auth.model import SignedIn
from domain.auth.one_time import Token
from domain.auth.passkeys_model import Options
from domain.clock import now
from domain.errors import Unauthenticated


async def verify(actor: Actor, given: SecondStep) -> SignedIn:
    """A new session.

    Raises Unauthenticated `invalid_mfa_token` or `wrong_code`, RateLimited `too_many_attempts`.
    """
    proof = mfa.one_of(given.code, given.credential)
    account = await _account(actor, await _held(given.mfa_token))
    async with db.transaction():
        await mfa.hold(account.user, proof)
        # Once more: somebody may have got in with it while we waited.
        held = await _held(given.mfa_token)
        assert account.personal_team_id is not None, "an account has a personal team"
        # Before the code is used: a first step that nobody can read any more is not worth one.
        first = proofs.resumed(account.user, account.personal_team_id, held.data)
        shown = await mfa.prove(actor, account, proof)
        if shown is not None and await one_time.spend("mfa", given.mfa_token) is None:
            raise _invalid()
    if shown is None:
        raise mfa.wrong_at_sign_in()
    return await auth.signed_in(
        actor, msgspec.structs.replace(first, amr=first.amr + shown.amr, second_factor_at=now())
    )


async def options(mfa_token: str) -> Options:
    """A challenge for a passkey of whoever the token is for. Raises Unauthenticated `invalid_mfa_token`."""
    held = await _held(mfa_token)
    return await assertions.options("passkey_second_factor", user_id=held.user_id)


async def _held(token: str) -> Token:
    held = await one_time.find("mfa", token)
    if held is None:
        raise _invalid()
    return held


async def _account(actor: Actor, held: Token) -> Actor:
    row = await db.fetchrow(
        "SELECT id, personal_team_id FROM users WHERE id = $1 AND disabled_at IS NULL", held.user_id
    )
    if row is None:
        raise _invalid()
    return actor.acting_as(row["id"], personal_team_id=row["personal_team_id"])


def _invalid() -> Unauthenticated:
    return proofs.over()
