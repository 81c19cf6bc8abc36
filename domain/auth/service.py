"""Auth: making an account, and signing in with a password.

Owns    the tables of this slice: sessions, one-time tokens, identities, factors, keys
Says    auth.registered, auth.logged_in, auth.login_failed, auth.session_revoked
Rules   whoever signs in, by whatever way, passes `signed_in` here; what a session is, is in sessions.py.
"""

from collections.abc import Sequence

from domain import db, ids
from domain.actor import Actor
from domain.auth import devices, passwords, sessions, verification
from domain.auth.model import LoggedIn, Login, LoginFailed, Registered, Registration, SignedIn
from domain.errors import Unauthenticated
from domain.record import record
from domain.teams import service as teams
from domain.users import service as users


async def register(actor: Actor, new: Registration) -> SignedIn:
    """A new account with its personal team, signed in. Raises Conflict `email_taken`."""
    password_hash = await passwords.hashed(new.password)
    user_id, team_id, session_id = ids.new("user"), ids.new("team"), ids.new("sess")
    actor = actor.acting_as(user_id, session_id=session_id, personal_team_id=team_id)
    async with db.transaction():
        user = await users.create(
            user_id, email=new.email, name=new.name, password_hash=password_hash, personal_team_id=team_id
        )
        await verification.not_reserved(new.email)
        await teams.create_personal(actor, team_id, name=new.name)
        answer = await sessions.start(actor, user, amr=["pwd"])
        await record(actor, Registered(team_id=team_id, user_id=user.id, session_id=session_id, user=user))
        await verification.send_link(user)
    return answer


async def login(actor: Actor, given: Login) -> SignedIn:
    """A new session.

    Raises Unauthenticated `wrong_credentials`, in the same words and time for an unknown address.
    """
    known = await users.credentials(given.email)
    right = await passwords.matches(known.password_hash if known else None, given.password)
    if known is None or not right or known.disabled:
        if known is not None:
            async with db.transaction():
                await record(actor, LoginFailed(team_id=known.personal_team_id, user_id=known.id))
        raise Unauthenticated("The e-mail address or the password is wrong.", code="wrong_credentials")
    return await signed_in(actor, known.id, known.personal_team_id, amr=["pwd"])


async def signed_in(actor: Actor, user_id: str, personal_team_id: str, *, amr: Sequence[str]) -> SignedIn:
    """A new session for a user who has shown who they are, in these ways; every way in ends here.

    Raises Forbidden `email_not_verified` where addresses are to be confirmed first.
    """
    await verification.require(actor.acting_as(user_id, personal_team_id=personal_team_id))
    actor = actor.acting_as(user_id, session_id=ids.new("sess"), personal_team_id=personal_team_id)
    async with db.transaction():
        user = await users.me(actor)
        answer = await sessions.start(actor, user, amr=amr)
        await devices.look(actor, user)
        await record(actor, LoggedIn(team_id=personal_team_id, user_id=user_id, session_id=answer.session_id))
    return answer
