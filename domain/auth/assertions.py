"""Assertions: whether a passkey that is shown is good, and whose it is.

Rules   a challenge is good once, whatever comes of it, and for what it was issued for; a counter that does
        not go up is refused, for somebody may have a copy of the key.
"""

from datetime import timedelta
from typing import Any, Final, Literal

import msgspec

from domain import db
from domain.auth import ceremony, one_time
from domain.auth.passkeys_model import Assertion, Options
from domain.clock import now
from domain.users import service as users

Purpose = Literal["passkey_register", "passkey_login", "passkey_second_factor", "passkey_step_up"]
CHALLENGE_LASTS: Final = timedelta(minutes=5)


class Shown(msgspec.Struct, frozen=True):
    """A passkey that passed, and the epoch of its account in which it did (proofs.py)."""

    passkey_id: str
    user_id: str
    personal_team_id: str
    epoch: int
    amr: tuple[str, ...]


class Refusal(msgspec.Struct, frozen=True):
    """One that did not, and why; with nobody's name where no such passkey exists."""

    reason: str
    passkey_id: str | None = None
    user_id: str | None = None
    personal_team_id: str | None = None


async def options(purpose: Purpose, *, user_id: str | None = None, session_id: str | None = None) -> Options:
    """What the browser is to ask for: one of this user's passkeys, or whichever there is."""
    ceremony.party()
    known = await credentials(user_id) if user_id is not None else []
    challenge = await one_time.issue(
        purpose, lasts=CHALLENGE_LASTS, user_id=user_id, data={"session": session_id}
    )
    return Options(public_key=ceremony.request_options(challenge, known))


async def credentials(user_id: str) -> list[str]:
    """The ids of the user's credentials, in base64url."""
    rows = await db.fetch("SELECT credential_id FROM passkeys WHERE user_id = $1 ORDER BY id", user_id)
    return [row["credential_id"] for row in rows]


async def spent_challenge(
    purpose: Purpose, client_data: str, *, user_id: str | None, session_id: str | None
) -> str:
    """The challenge that is answered, which is spent now. Raises Refused where it is not this one's."""
    challenge = ceremony.challenge_of(client_data)
    held = await one_time.spend(purpose, challenge)
    if held is None or held.user_id != user_id or held.data.get("session") != session_id:
        raise ceremony.Refused("no such challenge")
    return challenge


async def judge(
    given: Assertion, purpose: Purpose, *, user_id: str | None = None, session_id: str | None = None
) -> Shown | Refusal:
    """Whether it passes, in the transaction that is under way; `user_id` is who must have shown it.

    Whose passkey it is stays locked: the caller has locked `user_id`.
    """
    row = await db.fetchrow(
        """SELECT p.id AS passkey_id, p.user_id, p.public_key, u.personal_team_id,
                  u.credentials_epoch, u.disabled_at IS NOT NULL AS disabled
           FROM passkeys p JOIN users u ON u.id = p.user_id WHERE p.credential_id = $1""",
        given.id,
    )
    named: dict[str, Any] = (
        {name: row[name] for name in ("passkey_id", "user_id", "personal_team_id")} if row else {}
    )
    if row is not None and user_id is None:
        # The account before anything of it, as all do that take it back or close it.
        await users.lock(row["user_id"])
    try:
        challenge = await spent_challenge(
            purpose, given.response.client_data_json, user_id=user_id, session_id=session_id
        )
        if row is None:
            return Refusal("no such passkey")
        verified = ceremony.asserted(given, challenge, row["public_key"])
        if not ceremony.same_user(given, row["user_id"]):
            raise ceremony.Refused("another user's")
    except (ceremony.Refused, ValueError) as refused:
        return Refusal(str(refused) if isinstance(refused, ceremony.Refused) else "malformed", **named)
    if row["disabled"] or (user_id is not None and row["user_id"] != user_id):
        return Refusal("another user's" if not row["disabled"] else "the account is disabled", **named)
    counted = await db.fetchrow(
        """UPDATE passkeys SET sign_count = $2, backed_up = $3, last_used_at = $4
           WHERE id = $1 AND (sign_count < $2 OR (sign_count = 0 AND $2 = 0)) RETURNING id""",
        row["passkey_id"],
        verified.new_sign_count,
        verified.credential_backed_up,
        now(),
    )
    if counted is None:
        return Refusal("its counter did not go up: there may be a copy of it", **named)
    # RFC 8176: a key that is synchronised is one in software.
    amr = ("swk" if verified.credential_backed_up else "hwk", "mfa")
    return Shown(amr=amr, epoch=row["credentials_epoch"], **named)
