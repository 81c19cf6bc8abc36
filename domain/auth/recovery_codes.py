"""Recovery codes: ten, for whoever has lost the app; each is good once.

100 random bits in an alphabet without look-alikes, kept as a SHA-256 together with the user's id. So many
bits need no key and no slow hash, and a code on paper outlives every rotation of JWT_SECRET.
"""

import hashlib
import secrets
from typing import Final

from domain import db, ids
from domain.auth.tables import RecoveryCodes
from domain.clock import now

CODES: Final = 10
_GROUPS: Final = 5
_GROUP_CHARS: Final = 4
_LOOK_ALIKES: Final = str.maketrans("ilo", "110", "- ")


async def renew(user_id: str) -> list[str]:
    """Ten new codes, in the transaction that is under way; those before them are void."""
    codes = [_new() for _ in range(CODES)]
    await void(user_id)
    await RecoveryCodes.insert(
        *(
            RecoveryCodes(id=ids.new("code"), user_id=user_id, hash=_hashed(user_id, code), created_at=now())
            for code in codes
        )
    )
    return codes


async def void(user_id: str) -> None:
    """All codes of this user are good no more."""
    await db.execute("DELETE FROM recovery_codes WHERE user_id = $1", user_id)


async def use(user_id: str, code: str) -> bool:
    """Whether it is a code of this user that nobody has used; it is used now."""
    row = await db.fetchrow(
        """UPDATE recovery_codes SET used_at = $3
           WHERE user_id = $1 AND hash = $2 AND used_at IS NULL RETURNING id""",
        user_id,
        _hashed(user_id, code),
        now(),
    )
    return row is not None


async def left(user_id: str) -> int:
    """How many are unused."""
    count: int = await db.fetchval(
        "SELECT count(*) FROM recovery_codes WHERE user_id = $1 AND used_at IS NULL", user_id
    )
    return count


def _new() -> str:
    groups = ("".join(secrets.choice(ids.ALPHABET) for _ in range(_GROUP_CHARS)) for _ in range(_GROUPS))
    return "-".join(groups)


def _hashed(user_id: str, code: str) -> str:
    """Read the way people type: capitals, spaces, and letters that look like digits do no harm."""
    plain = code.lower().translate(_LOOK_ALIKES)
    return hashlib.sha256(f"recovery code of {user_id}: {plain}".encode()).hexdigest()
