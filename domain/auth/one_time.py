"""One-time tokens: good once, for one purpose, for a while.

    links       in mails: `peek` and `consume`, which say what is said of every link that is no good
    the rest    second steps of signing in, challenges for passkeys: `find` and `spend`

Rules   a token is 256 random bits, of which only the SHA-256 is kept. Unknown, used, expired, or meant for
        something else: whoever shows it is told the same. Of many who show it at once one is first.

Marks are rows of the same table that nobody can show: that something was done of late (`mark`).
"""

import hashlib
import hmac
import secrets
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from domain import db, ids, keys
from domain.auth.tables import OneTimeTokens
from domain.auth.tokens import hashed
from domain.clock import now
from domain.errors import Invalid
from domain.users import service as users

PREFIX: Final = "mot_"
_MARK: Final = "one-time mark"


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a token that was shown; never the token."""

    id: str
    purpose: str
    user_id: str | None
    email: str | None
    data: dict[str, Any]
    created_at: datetime


async def issue(
    purpose: str,
    *,
    lasts: timedelta,
    user_id: str | None = None,
    email: str | None = None,
    data: dict[str, Any] | None = None,
    alone: bool = False,
) -> str:
    """A new token, in base64url; with `alone` the user's earlier ones are void, in the same transaction."""
    if alone:
        db.current()
        assert user_id is not None, "tokens are void for a user"
        await void(user_id, purpose)
    token = PREFIX + secrets.token_urlsafe(32)
    at = now()
    await OneTimeTokens.insert(
        OneTimeTokens(
            id=ids.new("ott"),
            purpose=purpose,
            hash=hashed(token),
            user_id=user_id,
            email=email,
            data=data or {},
            expires_at=at + lasts,
            created_at=at,
        )
    )
    return token


async def find(purpose: str, token: str) -> Token | None:
    """What is known of a good token, which stays good; None for any other."""
    row = await db.fetchrow(
        """SELECT * FROM one_time_tokens
           WHERE hash = $1 AND purpose = $2 AND used_at IS NULL AND expires_at > $3""",
        hashed(token),
        purpose,
        now(),
    )
    return db.as_struct(Token, row) if row else None


async def spend(purpose: str, token: str) -> Token | None:
    """The same, and it is used up; rolled back, it is good again. Whoever locks its user does so before."""
    row = await db.fetchrow(
        """UPDATE one_time_tokens SET used_at = $3
           WHERE hash = $1 AND purpose = $2 AND used_at IS NULL AND expires_at > $3 RETURNING *""",
        hashed(token),
        purpose,
        now(),
    )
    return db.as_struct(Token, row) if row else None


async def peek(purpose: str, token: str) -> Token:
    """What is known of a link's token, which stays good. Raises Invalid `link_invalid`."""
    found = await find(purpose, token)
    if found is None:
        raise invalid()
    return found


async def consume(purpose: str, token: str) -> Token:
    """Use a link's token up, in the transaction that is under way. Its user stays locked.

    Raises Invalid `link_invalid`.
    """
    db.current()
    # The user before the token, as all who void tokens do: two links followed at once do not deadlock.
    await db.execute(
        """SELECT FROM users WHERE id = (SELECT user_id FROM one_time_tokens WHERE hash = $1 AND purpose = $2)
           FOR NO KEY UPDATE""",
        hashed(token),
        purpose,
    )
    spent = await spend(purpose, token)
    if spent is None:
        raise invalid()
    return spent


async def void(user_id: str, *purposes: str) -> None:
    """The user's tokens of these purposes are good no more."""
    await users.lock(user_id)
    await db.execute(
        "DELETE FROM one_time_tokens WHERE user_id = $1 AND purpose = ANY($2)", user_id, purposes
    )


async def mark(purpose: str, subject: str, *, lasts: timedelta, user_id: str | None = None) -> bool:
    """Whether there was no such mark yet. Of many at once one is first; of `subject` a keyed hash is kept."""
    at = now()
    row = await db.fetchrow(
        """INSERT INTO one_time_tokens AS mark (id, purpose, hash, user_id, data, expires_at, created_at)
           VALUES ($1, $2, $3, $4, '{}', $5, $6)
           ON CONFLICT (hash) DO UPDATE SET id = excluded.id, user_id = excluded.user_id,
               expires_at = excluded.expires_at, created_at = excluded.created_at
           WHERE mark.expires_at <= $6 RETURNING id""",
        ids.new("ott"),
        purpose,
        (await _marks(purpose, subject))[0],
        user_id,
        at + lasts,
        at,
    )
    return row is not None


async def marked_by(purpose: str, subject: str) -> str | None:
    """The user of the mark that is there; None where there is none."""
    user_id: str | None = await db.fetchval(
        "SELECT user_id FROM one_time_tokens WHERE hash = ANY($1) AND purpose = $2 AND expires_at > $3",
        await _marks(purpose, subject),
        purpose,
        now(),
    )
    return user_id


async def unmark(purpose: str, subject: str) -> None:
    """There is no such mark any more."""
    await db.execute(
        "DELETE FROM one_time_tokens WHERE hash = ANY($1) AND purpose = $2",
        await _marks(purpose, subject),
        purpose,
    )


async def fingerprint(subject: str) -> str:
    """What stands for an address where it must not be read, such as in the key of a job."""
    return (await _marks("fingerprint", subject))[0]


def invalid() -> Invalid:
    """What is said of every link that is no good, whatever the reason."""
    return Invalid("This link was used already, or is too old: ask for a new one.", code="link_invalid")


async def _marks(purpose: str, subject: str) -> list[str]:
    """A hash with each of our keys, the current one's first; upper and lower case are the same.

    By the rules of Postgres, as for the addresses of accounts: what is one address there is one mark here.
    """
    said = f"{purpose}\n{await db.fetchval('SELECT lower($1::text)', subject)}".encode()
    return [hmac.new(key, said, hashlib.sha256).hexdigest() for key in keys.derived(_MARK)]
