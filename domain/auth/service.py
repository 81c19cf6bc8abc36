"""Auth: making an account, and signing in with a password.

Owns    the tables of this slice: sessions, one-time tokens, identities, factors, keys
Says    auth.registered, auth.logged_in, auth.login_failed, auth.session_revoked
Rules   whoever signs in, by whatever way, passes `signed_in` here; what a session is, is in sessions.py.
"""

import logging
from collections.abc import Sequence
from datetime import datetime

from msgspec import UNSET

from domain import db, ids
from domain.actor import Actor
from domain.auth import attempts, devices, mfa, passwords, sessions, throttle, verification
from domain.auth.model import LoggedIn, Login, Registered, Registration, SignedIn
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
    async with db.transaction():
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
        raise Unauthenticated("The e-mail address or the password is wrong.", code="wrong_credentials")
    await throttle.cleared(counted)
    code = None if given.totp is UNSET else given.totp
    answer = await signed_in(
        actor, known.id, known.personal_team_id, amr=["pwd"], code=code, shown=known.password_hash
    )
    await _rehash(known, given.password)
    return answer


async def signed_in(
    actor: Actor,
    user_id: str,
    personal_team_id: str,
    *,
    amr: Sequence[str],
    code: str | None = None,
    second_factor_at: datetime | None = None,
    shown: str | None = None,
) -> SignedIn:
    """A new session for a user who has shown who they are, in these ways; every way in ends here.

    Unless that was two factors already (`second_factor_at`), whoever has a second one is asked for it, or has
    given it (`code`). `shown` is the hash of the password that was right. Outside of any transaction. Raises
    Unauthenticated where the account was closed or its password changed meanwhile; Forbidden
    `email_not_verified` where addresses are to be confirmed first; and what mfa.gate does.
    """
    await verification.require(actor.acting_as(user_id, personal_team_id=personal_team_id))
    ways = list(amr)
    if second_factor_at is None:
        ways, second_factor_at = await mfa.gate(actor, user_id, personal_team_id, amr=amr, code=code)
    actor = actor.acting_as(user_id, session_id=ids.new("sess"), personal_team_id=personal_team_id)
    async with db.transaction():
        # What was shown was judged before: whoever takes the account back meanwhile comes before or after.
        user = await users.locked(user_id)
        if not await users.is_open(user_id) or (
            shown is not None and await users.password_hash(user_id) != shown
        ):
            raise Unauthenticated("The e-mail address or the password is wrong.", code="wrong_credentials")
        answer = await sessions.start(actor, user, amr=ways, second_factor_at=second_factor_at)
        await devices.look(actor, user)
        await record(actor, LoggedIn(team_id=personal_team_id, user_id=user_id, session_id=answer.session_id))
    return answer


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
