"""Sessions: who is signed in, on which device, for how long; their tokens, and their end.

Rules   a refresh token is exchanged once, for one pair that all who exchange it at the same time receive; one
        that is older ends its session, for somebody else has a copy of it. A revoked session authenticates
        nothing from that commit on, and its sockets are closed (channels/gate.py hears of it).
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Final

import asyncpg

from domain import db, pages
from domain.actor import Actor
from domain.auth import post, tokens
from domain.auth.model import Session, SessionRevoked, SignedIn
from domain.auth.tables import UserSessions
from domain.clock import now
from domain.errors import NotFound, Unauthenticated
from domain.pages import Page
from domain.record import record
from domain.users import service as users
from domain.users.model import User

# Twenty tabs that wake up, and a client that did not hear the answer and asks again.
TOGETHER_WITHIN: Final = timedelta(seconds=30)


async def start(
    actor: Actor, user: User, *, amr: Sequence[str], second_factor_at: datetime | None = None
) -> SignedIn:
    """A new session of this user with the id that the actor has, in the transaction that is under way.

    `amr` is how they showed who they are (RFC 8176): `pwd`, `otp`, `hwk`, …. It says nothing by itself.
    """
    assert actor.session_id is not None, "the caller chose the session's id"
    token = tokens.refresh(actor.session_id)
    at = now()
    await UserSessions.insert(
        UserSessions(
            id=actor.session_id,
            user_id=user.id,
            token=tokens.hashed(token),
            expires_at=at + tokens.REFRESH_LASTS,
            ip=actor.ip,
            user_agent=actor.user_agent,
            amr=list(amr),
            second_factor_at=second_factor_at,
            last_seen_at=at,
            created_at=at,
        )
    )
    return _signed_in(user, actor.session_id, token, at)


async def refresh(actor: Actor, token: str) -> SignedIn:
    """The next pair of tokens. Raises Unauthenticated `invalid_refresh_token`."""
    session_id = tokens.session_of(token)
    signed_in = None
    async with db.transaction():
        session = await db.fetchrow(
            """SELECT s.*, u.personal_team_id
               FROM user_sessions s JOIN users u ON u.id = s.user_id
               WHERE s.id = $1 AND s.revoked_at IS NULL AND s.expires_at > $2 AND u.disabled_at IS NULL
               FOR UPDATE OF s""",
            session_id,
            now(),
        )
        if session is not None:
            actor = actor.acting_as(
                session["user_id"], session_id=session["id"], personal_team_id=session["personal_team_id"]
            )
            signed_in = await _exchange(actor, session, token)
            if signed_in is None:
                await revoke(actor, [session["id"]], "refresh_token_reused")
                await post.notice(await users.me(actor), "token_reused")
    if signed_in is None:
        raise Unauthenticated("This refresh token is not valid: sign in again.", code="invalid_refresh_token")
    return signed_in


async def listed(actor: Actor, *, limit: int, cursor: str | None) -> Page[Session]:
    """Where the caller is signed in, newest first."""
    scope = f"sessions {actor.user}"
    before = pages.unseal(cursor, scope=scope)[0] if cursor else None
    rows = await db.fetch(
        """SELECT id, created_at, last_seen_at, expires_at, ip, user_agent, amr, id = $2 AS current
           FROM user_sessions
           WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $3 AND ($4::text IS NULL OR id < $4)
           ORDER BY id DESC LIMIT $5""",
        actor.user,
        actor.session_id,
        now(),
        before,
        limit + 1,
    )
    return pages.cut(
        [db.as_struct(Session, row) for row in rows], limit, scope=scope, key=lambda session: [session.id]
    )


async def end(actor: Actor, session_id: str) -> None:
    """End one of the caller's sessions. Raises NotFound for one that is over, or somebody else's."""
    async with db.transaction():
        if not await revoke(actor, [session_id], "logout"):
            raise NotFound.of("session")


async def end_all(actor: Actor, reason: str, *, of: str | None = None, but: str | None = None) -> None:
    """End all sessions of a user (the caller, or `of`), except one; and sign-ins that are under way."""
    async with db.transaction():
        await users.next_epoch(of or actor.user)
        rows = await db.fetch(
            """SELECT id FROM user_sessions
               WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2 AND id IS DISTINCT FROM $3""",
            of or actor.user,
            now(),
            but,
        )
        await revoke(actor, [row["id"] for row in rows], reason, of=of)


async def hold(actor: Actor) -> None:
    """The caller's session holds, and does until this transaction ends: first in each that changes ways in.

    What a request may do is asked when it comes, and its body may follow seconds later: whoever took the
    account back meanwhile must not find a way in that was added after that. Raises Unauthenticated.
    """
    await users.lock(actor.user)
    held = await db.fetchrow(
        """SELECT id FROM user_sessions
           WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL AND expires_at > $3 FOR SHARE""",
        actor.session_id,
        actor.user,
        now(),
    )
    if held is None:
        raise Unauthenticated("This session is over: sign in again.", code="session_over")


async def revoke(
    actor: Actor, session_ids: Collection[str], reason: str, *, of: str | None = None
) -> list[str]:
    """End those of these sessions that are the caller's (or of user `of`) and not over; which they were.

    In the transaction that is under way; their sockets are closed once it has committed.
    """
    user_id = of or actor.user
    rows = await db.fetch(
        """UPDATE user_sessions s SET revoked_at = $3, revoked_reason = $4 FROM users u
           WHERE s.id = ANY($1) AND s.user_id = $2 AND s.revoked_at IS NULL AND u.id = s.user_id
           RETURNING s.id, u.personal_team_id""",
        sorted(session_ids),
        user_id,
        now(),
        reason,
    )
    for row in rows:
        await record(
            actor,
            SessionRevoked(
                team_id=row["personal_team_id"], user_id=user_id, session_id=row["id"], reason=reason
            ),
        )
    return [row["id"] for row in rows]


async def _exchange(actor: Actor, session: asyncpg.Record, token: str) -> SignedIn | None:
    """The pair that this token is exchanged for; None where it is too old."""
    given = tokens.hashed(token)
    at = now()
    if given == session["token"]:
        following = tokens.following(token)[0]
        await UserSessions.update(
            {
                UserSessions.token: tokens.hashed(following),
                UserSessions.previous_hash: given,
                UserSessions.generation: session["generation"] + 1,
                UserSessions.rotated_at: at,
                UserSessions.last_seen_at: at,
                UserSessions.expires_at: at + tokens.REFRESH_LASTS,
            }
        ).where(UserSessions.id == session["id"])
        return _signed_in(await users.me(actor), session["id"], following, at)
    if given == session["previous_hash"] and at - session["rotated_at"] <= TOGETHER_WITHIN:
        for following in tokens.following(token):
            if tokens.hashed(following) == session["token"]:
                return _signed_in(await users.me(actor), session["id"], following, session["rotated_at"])
    return None


def _signed_in(user: User, session_id: str, refresh_token: str, at: datetime) -> SignedIn:
    return SignedIn(
        user=user,
        access_token=tokens.access(user.id, session_id, at),
        refresh_token=refresh_token,
        expires_in=tokens.ACCESS_LASTS_S - int((now() - at).total_seconds()),
        session_id=session_id,
    )
