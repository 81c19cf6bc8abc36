"""Auth: making an account, and signing in with a password.

Owns    the tables of this slice: sessions, one-time tokens, identities, factors, keys
Says    auth.registered, auth.logged_in, auth.login_failed, auth.session_revoked
Rules   whoever signs in, by whatever way, passes `signed_in` here; what a session is, is in sessions.py.
"""

import logging
from collections.abc import Sequence
from datetime import datetime

from msgspec import UNSET

from domain import ids, last_commit
from domain.actor import Actor
from domain.auth import (
    attempts,
    devices,
    identities,
    mfa,
    passwords,
    proofs,
    sessions,
    throttle,
    verification,
)
from domain.auth.model import LoggedIn, Login, Registered, Registration, SignedIn
from domain.auth.proofs import Proof
from domain.errors import Unauthenticated, Unavailable
from domain.record import record
from domain.teams import service as teams
from domain.users import service as users
from domain.users.service import Credentials

log = logging.getLogger("maycole.auth")


async def register(actor: Actor, new: Registration) -> SignedIn:
    """A new account with its personal team, signed in.

    Raises Conflict `email_taken`, and Invalid for a password that others would try first.
    """
    await passwords.check(new.password, email=new.email, name=new.name)
    password_hash = await passwords.hashed_to_register(new.password)
    return await open_account(actor, email=new.email, name=new.name, password_hash=password_hash, amr=["pwd"])


async def open_account(
    actor: Actor,
    *,
    email: str,
    name: str,
    amr: Sequence[str],
    password_hash: str | None = None,
    email_verified_at: datetime | None = None,
) -> SignedIn:
    """A new account with its personal team, signed in; every way to make one ends here.

    Raises Conflict `email_taken`.
    """
    user_id, team_id, session_id = ids.new("user"), ids.new("team"), ids.new("sess")
    actor = actor.acting_as(user_id, session_id=session_id, personal_team_id=team_id)
    async with last_commit.concluding():
        user = await users.create(
            user_id,
            email=email,
            name=name,
            password_hash=password_hash,
            personal_team_id=team_id,
            email_verified_at=email_verified_at,
        )
        await verification.not_reserved(email)
        await teams.create_personal(actor, team_id, name=name)
        answer = await sessions.start(actor, user, amr=amr)
        await record(actor, Registered(team_id=team_id, user_id=user.id, session_id=session_id, user=user))
        await verification.send_link(user)
    return answer


async def login(actor: Actor, given: Login) -> SignedIn:
    """A new session.

    Raises Unauthenticated `wrong_credentials`, in the same words and time for an unknown address, and
    RateLimited `too_many_attempts` before anything is looked at; what `signed_in` raises only once the
    password was right.
    """
    counted = await attempts.begin(actor, given.email)
    known = await users.credentials(given.email)
    try:
        right = await passwords.matches(known.password_hash if known else None, given.password)
    except Unavailable:
        await throttle.untried(counted)
        raise
    if known is None or not right or known.disabled:
        await attempts.failed(actor, known)
        raise _wrong()
    await throttle.cleared(counted)
    code = None if given.totp is UNSET else given.totp
    proof = Proof(
        user_id=known.id, personal_team_id=known.personal_team_id, epoch=known.credentials_epoch, amr=("pwd",)
    )
    answer = await signed_in(actor, proof, code=code)
    await _rehash(known, given.password)
    return answer


async def signed_in(actor: Actor, proof: Proof, *, code: str | None = None) -> SignedIn:
    """A new session for a user who has shown who they are; every way in ends here.

    Unless they have shown two factors already, whoever has a second one is asked for it, or has given it
    (`code`). Outside of any transaction. Raises Unauthenticated `wrong_credentials` where the account was
    closed, or somebody was put out of it, since the proof was judged; Forbidden `email_not_verified` where
    addresses are to be confirmed first; Conflict `identity_taken`, `too_many_identities`; and what mfa.gate
    does.
    """
    team_id = proof.personal_team_id
    await verification.require(actor.acting_as(proof.user_id, personal_team_id=team_id))
    if proof.second_factor_at is None:
        proof = await mfa.gate(actor, proof, code=code)
    actor = actor.acting_as(proof.user_id, session_id=ids.new("sess"), personal_team_id=team_id)
    async with last_commit.concluding():
        if proof.linking is not None:
            await identities.lock(proof.linking)
        # What was shown was judged before: whoever takes the account back meanwhile comes before or after.
        user = await proofs.account(proof)
        if user is None:
            raise _wrong()
        answer = await sessions.start(actor, user, amr=proof.amr, second_factor_at=proof.second_factor_at)
        if proof.linking is not None:
            await identities.arrived(actor, proof.linking)
        await devices.look(actor, user)
        await record(actor, LoggedIn(team_id=team_id, user_id=user.id, session_id=answer.session_id))
    return answer


def _wrong() -> Unauthenticated:
    return Unauthenticated("The e-mail address or the password is wrong.", code="wrong_credentials")


async def _rehash(known: Credentials, password: str) -> None:
    """Keep the password as it would be kept today, now that it is at hand."""
    if known.password_hash is None or not passwords.outdated(known.password_hash):
        return
    try:
        new = await passwords.hashed(password)
    except Unavailable:
        log.info("too busy to renew the hash of %s: the next login will", known.id)
        return
    await users.rehashed(known.id, old=known.password_hash, new=new)
