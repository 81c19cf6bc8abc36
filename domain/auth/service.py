"""Auth: who somebody is, and their sessions.

Owns    user_sessions
Says    auth.registered, auth.logged_in, auth.login_failed, auth.session_revoked
Rules   a refresh token is good once, a used one ends its session; a revoked session authenticates nothing
        from that commit on.
"""

from collections.abc import Collection

import asyncpg
import msgspec

from domain import db, ids
from domain.actor import Actor
from domain.auth import passwords, tokens
from domain.auth.model import (
    LoggedIn,
    Login,
    LoginFailed,
    Refresh,
    Registered,
    Registration,
    SessionRevoked,
    SignedIn,
)
from domain.auth.tables import UserSessions
from domain.auth.tokens import Claims
from domain.clock import now
from domain.errors import Unauthenticated
from domain.record import record
from domain.teams import service as teams
from domain.users import service as users
from domain.users.model import User


class Identity(msgspec.Struct, frozen=True):
    """Whom an access token stands for, as the database has it now."""

    user_id: str
    session_id: str
    personal_team_id: str
    is_staff: bool
    name: str


async def register(actor: Actor, new: Registration) -> SignedIn:
    """A new account with its personal team, signed in. Raises Conflict `email_taken`."""
    password_hash = await passwords.hashed(new.password)
    user_id, team_id, session_id = ids.new("user"), ids.new("team"), ids.new("sess")
    actor = actor.acting_as(user_id, session_id=session_id, personal_team_id=team_id)
    async with db.transaction():
        user = await users.create(
            user_id, email=new.email, name=new.name, password_hash=password_hash, personal_team_id=team_id
        )
        await teams.create_personal(actor, team_id, name=new.name)
        signed_in = await _start_session(actor, user)
        await record(actor, Registered(team_id=team_id, user_id=user.id, session_id=session_id, user=user))
    return signed_in


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
    actor = actor.acting_as(known.id, session_id=ids.new("sess"), personal_team_id=known.personal_team_id)
    async with db.transaction():
        signed_in = await _start_session(actor, await users.me(actor))
        await record(
            actor,
            LoggedIn(team_id=known.personal_team_id, user_id=known.id, session_id=signed_in.session_id),
        )
    return signed_in


async def refresh(actor: Actor, given: Refresh) -> SignedIn:
    """The next pair of tokens.

    A token that was exchanged before ends its session: someone else has a copy of it. Raises Unauthenticated
    `invalid_refresh_token`.
    """
    session_id = tokens.session_of(given.refresh_token)
    signed_in = None
    async with db.transaction():
        session = await db.fetchrow(
            """SELECT s.*, u.personal_team_id, u.disabled_at
               FROM user_sessions s JOIN users u ON u.id = s.user_id
               WHERE s.id = $1 AND s.revoked_at IS NULL AND s.expires_at > $2
               FOR UPDATE OF s""",
            session_id,
            now(),
        )
        if session is not None and session["disabled_at"] is None:
            actor = actor.acting_as(
                session["user_id"], session_id=session["id"], personal_team_id=session["personal_team_id"]
            )
            if session["token"] == tokens.hashed(given.refresh_token):
                signed_in = await _rotate(actor, session)
            else:
                await _revoke(actor, "refresh_token_reused")
    if signed_in is None:
        raise Unauthenticated("This refresh token is not valid: sign in again.", code="invalid_refresh_token")
    return signed_in


async def logout(actor: Actor) -> None:
    """End the session that the request came with; its tokens and sockets end with it."""
    async with db.transaction():
        await _revoke(actor, "logout")


def claims(token: str) -> Claims:
    """What a good access token says; whether its session still holds is for `identities` to tell.

    Raises Unauthenticated.
    """
    return tokens.verify(token)


async def identify(said: Claims) -> Identity:
    """Whom a verified token stands for now. Raises Unauthenticated where its session is over."""
    identity = (await identities([said.sid])).get(said.sid)
    if identity is None or identity.user_id != said.sub:
        raise Unauthenticated("This session is over: sign in again.", code="session_over")
    return identity


async def identities(session_ids: Collection[str]) -> dict[str, Identity]:
    """Whom these sessions stand for now, in one query; those that are over are absent."""
    rows = await db.fetch(
        """SELECT u.id AS user_id, s.id AS session_id, u.personal_team_id, u.is_staff, u.name
           FROM user_sessions s JOIN users u ON u.id = s.user_id
           WHERE s.id = ANY($1) AND s.revoked_at IS NULL AND s.expires_at > $2 AND u.disabled_at IS NULL""",
        list(session_ids),
        now(),
    )
    return {row["session_id"]: db.as_struct(Identity, row) for row in rows}


async def _start_session(actor: Actor, user: User) -> SignedIn:
    assert actor.session_id is not None, "the caller chose the session's id"
    token, token_hash = tokens.refresh(actor.session_id)
    at = now()
    await UserSessions.insert(
        UserSessions(
            id=actor.session_id,
            user_id=user.id,
            token=token_hash,
            expires_at=at + tokens.REFRESH_LASTS,
            ip=actor.ip,
            user_agent=actor.user_agent,
            last_seen_at=at,
            created_at=at,
        )
    )
    return _signed_in(user, actor.session_id, token)


async def _rotate(actor: Actor, session: asyncpg.Record) -> SignedIn:
    token, token_hash = tokens.refresh(session["id"])
    at = now()
    await UserSessions.update(
        {
            UserSessions.token: token_hash,
            UserSessions.previous_hash: session["token"],
            UserSessions.generation: session["generation"] + 1,
            UserSessions.rotated_at: at,
            UserSessions.last_seen_at: at,
            UserSessions.expires_at: at + tokens.REFRESH_LASTS,
        }
    ).where(UserSessions.id == session["id"])
    return _signed_in(await users.me(actor), session["id"], token)


async def _revoke(actor: Actor, reason: str) -> None:
    assert actor.session_id is not None, "only a session can be revoked"
    ended = await db.fetchval(
        """UPDATE user_sessions SET revoked_at = $2, revoked_reason = $3
           WHERE id = $1 AND revoked_at IS NULL RETURNING id""",
        actor.session_id,
        now(),
        reason,
    )
    if ended is not None:
        await record(
            actor,
            SessionRevoked(
                team_id=actor.team(None), user_id=actor.user, session_id=actor.session_id, reason=reason
            ),
        )


def _signed_in(user: User, session_id: str, refresh_token: str) -> SignedIn:
    return SignedIn(
        user=user,
        access_token=tokens.access(user.id, session_id),
        refresh_token=refresh_token,
        expires_in=tokens.ACCESS_LASTS_S,
        session_id=session_id,
    )
