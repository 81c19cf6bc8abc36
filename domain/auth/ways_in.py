"""Ways in: a password, accounts at providers, passkeys. The last one cannot be taken away.

Whoever takes one away locks the account first (users.lock), so that of two who do it at once the second sees
what the first has left. A new password takes none away: its owner is told which there are.
"""

from datetime import datetime
from typing import Any, Literal

import msgspec

from domain import db, mail
from domain.errors import Conflict


class Way(msgspec.Struct, frozen=True):
    """A way in besides the password, or what is asked for beside it.

    `name` is what its owner calls it, or whose provider it is of: `google`.
    """

    kind: Literal["passkey", "identity", "totp", "api_key"]
    id: str
    name: str
    created_at: datetime

    def called(self) -> str:
        """What it is, in words for a mail: what somebody could have called it leads nowhere."""
        name = mail.harmless(self.name)
        words = {
            "passkey": f"the passkey “{name}”" if name else "a passkey",
            "identity": f"an account at {self.name}",
            "totp": "an authenticator app, and its recovery codes",
            "api_key": f"the API key “{name}”" if name else "an API key",
        }
        return words[self.kind]

    def said(self) -> str:
        """The same, and since when."""
        return f"{self.called()} (since {self.created_at:%Y-%m-%d})"


async def beside_password(user_id: str) -> list[Way]:
    """What there is, oldest first of each kind."""
    rows = await db.fetch(
        """SELECT 'passkey' AS kind, id, name, created_at FROM passkeys WHERE user_id = $1
           UNION ALL SELECT 'identity', id, provider, created_at FROM oauth_identities WHERE user_id = $1
           UNION ALL SELECT kind, id, '', created_at FROM mfa_factors
                     WHERE user_id = $1 AND confirmed_at IS NOT NULL
           UNION ALL SELECT 'api_key', id, name, created_at FROM api_keys
                     WHERE user_id = $1 AND status = 'active'
           ORDER BY kind, id""",
        user_id,
    )
    return [db.as_struct(Way, row) for row in rows]


def told(ways: list[Way]) -> str:
    """The same for a mail, a line each."""
    return "\n".join(way.said() for way in ways) or "nothing else"


def noted(ways: list[Way]) -> list[dict[str, Any]]:
    """The same for the trail."""
    return [{"kind": way.kind, "id": way.id} for way in ways]


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
