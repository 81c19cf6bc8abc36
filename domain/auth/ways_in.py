"""Ways in: a password, an account at a provider, a passkey. Nobody can take away their own last one."""

from domain import db
from domain.errors import Conflict


async def require_another(user_id: str, *, besides: str) -> None:
    """Another way into this account than the passkey or the identity with this id.

    In the transaction that takes it away: the user's row is locked, so two of them cannot both be the other
    one. Raises Conflict `last_way_in`.
    """
    await db.fetchrow("SELECT id FROM users WHERE id = $1 FOR NO KEY UPDATE", user_id)
    # A statement of its own: it must see what was committed while the first one waited.
    ways: int = await db.fetchval(
        """SELECT (SELECT count(*) FROM users WHERE id = $1 AND password_hash IS NOT NULL)
                + (SELECT count(*) FROM oauth_identities WHERE user_id = $1 AND id <> $2)
                + (SELECT count(*) FROM passkeys WHERE user_id = $1 AND id <> $2)""",
        user_id,
        besides,
    )
    if ways == 0:
        raise Conflict("This is the only way into the account: add another one first.", code="last_way_in")
