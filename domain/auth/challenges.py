"""One-time tokens: 256 random bits, kept as their SHA-256, good once, for a while, for one purpose.

Whoever spends one spends it alone: the row is taken in one UPDATE.
"""

import secrets
from datetime import timedelta
from typing import Any, Literal

import msgspec

from domain import db, ids
from domain.auth import tokens
from domain.auth.tables import OneTimeTokens
from domain.clock import now

Purpose = Literal["mfa", "passkey_register", "passkey_login", "passkey_second_factor", "passkey_step_up"]


class Held(msgspec.Struct, frozen=True):
    """What is known of a token that is still good: whose it is, and what its purpose needs."""

    id: str
    user_id: str | None
    data: dict[str, Any]  # each purpose has its own


async def issue(
    purpose: Purpose, *, lasts: timedelta, user_id: str | None = None, data: dict[str, Any] | None = None
) -> str:
    """A new token, in base64url; the user's own that have run out are forgotten."""
    token, at = secrets.token_urlsafe(32), now()
    if user_id is not None:
        await db.execute(
            "DELETE FROM one_time_tokens WHERE user_id = $1 AND purpose = $2 AND expires_at <= $3",
            user_id,
            purpose,
            at,
        )
    await OneTimeTokens.insert(
        OneTimeTokens(
            id=ids.new("once"),
            purpose=purpose,
            hash=tokens.hashed(token),
            user_id=user_id,
            data=data or {},
            expires_at=at + lasts,
            created_at=at,
        )
    )
    return token


async def find(purpose: Purpose, token: str) -> Held | None:
    """What the token stands for; None where it was never issued, has run out or is spent."""
    row = await db.fetchrow(
        """SELECT id, user_id, data FROM one_time_tokens
           WHERE hash = $1 AND purpose = $2 AND used_at IS NULL AND expires_at > $3""",
        tokens.hashed(token),
        purpose,
        now(),
    )
    return db.as_struct(Held, row) if row else None


async def spend(purpose: Purpose, token: str) -> Held | None:
    """The same, and from this commit on it is spent."""
    row = await db.fetchrow(
        """UPDATE one_time_tokens SET used_at = $3
           WHERE hash = $1 AND purpose = $2 AND used_at IS NULL AND expires_at > $3
           RETURNING id, user_id, data""",
        tokens.hashed(token),
        purpose,
        now(),
    )
    return db.as_struct(Held, row) if row else None
