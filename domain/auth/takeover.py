"""Taking an account back, or over: what somebody else may have set up in it goes.

Rules   links in flight are void, sessions end, and ways in that were added since then are gone (of an account
        that is taken over, all of them): a thief who is put out does not come back by a passkey, a key or an
        identity that they added.
"""

from datetime import datetime
from typing import Final

from domain import db
from domain.actor import Actor
from domain.auth import api_keys, one_time, sessions
from domain.teams import service as teams
from domain.users import service as users
from domain.users.model import User

# The mark of an address that may go back to the account it was taken from.
RESERVED: Final = "email_reserved"
# What lets somebody in, or moves the account elsewhere. Never `email_revert`: it takes an account back.
LINKS_IN: Final = ("reset_password", "magic_link", "email_change", "verify_email", "mfa")
_WAYS_IN: Final = ("oauth_identities", "mfa_factors", "passkeys")


async def clear(actor: Actor, user: User) -> None:
    """Somebody shows for the first time that the address is theirs: all that was set up before goes."""
    await users.set_password(user.id, None)
    await sessions.end_all(actor, "taken_over", of=user.id)
    await one_time.void(user.id, *LINKS_IN)
    await forget_ways_in(actor, user.id)
    await teams.alone_in_personal(actor, user.personal_team_id)


async def forget_ways_in(actor: Actor, user_id: str, *, since: datetime | None = None) -> None:
    """Without the ways in that were added since then, or without any.

    Keys and recovery codes go whenever they were made: they may have been replaced since.
    """
    await api_keys.end_all(actor, user_id)
    for table in _WAYS_IN:
        await db.execute(
            f"DELETE FROM {table} WHERE user_id = $1 AND ($2::timestamptz IS NULL OR created_at >= $2)",  # noqa: S608
            user_id,
            since,
        )
    await db.execute("DELETE FROM recovery_codes WHERE user_id = $1", user_id)
