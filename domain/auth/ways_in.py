"""Ways in: a password, accounts at providers, passkeys. The last one cannot be taken away.

Whoever takes one away locks the account first (users.lock), so that of two who do it at once the second sees
what the first has left.
"""

from domain import db
from domain.errors import Conflict


async def require_one(user_id: str) -> None:
    """After taking one away, in the same transaction. Raises Conflict `last_way_in` where none is left."""
    left = await db.fetchval(
        """SELECT password_hash IS NOT NULL
                  OR EXISTS (SELECT FROM oauth_identities WHERE user_id = u.id)
                  OR EXISTS (SELECT FROM passkeys WHERE user_id = u.id)
           FROM users u WHERE id = $1""",
        user_id,
    )
    if not left:
        raise Conflict(
            "Nobody could sign in to this account any more: set a password or link another account first.",
            code="last_way_in",
        )
