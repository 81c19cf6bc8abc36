"""Flows to a provider and back: what has to hold between one request of a browser and its next.

Rules   a flow, and the code that a flow ends with, is good once, for a short time, in the browser that it was
        begun in: a row is found only by the hash of what went through the address together with what is in
        the browser's cookie. Neither is kept here, and what else is secret is kept sealed.
"""

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from domain import crypto, db, ids
from domain.actor import Actor
from domain.auth.oauth_model import Begun, Flow, Profile
from domain.auth.tables import OneTimeTokens
from domain.clock import now
from domain.errors import Unauthenticated

STATE: Final = "oauth_state"
CODE: Final = "oauth_code"
STATE_LASTS: Final = timedelta(minutes=10)
CODE_LASTS: Final = timedelta(seconds=60)
SWEPT_AT_ONCE: Final = 20


class _Secrets(msgspec.Struct, frozen=True):
    verifier: str
    nonce: str


async def begin(provider: str, *, return_to: str | None, linking: Actor | None = None) -> Begun:
    """A new flow to this provider: to sign in, or to link what comes back to the account of `linking`."""
    begun = Begun(
        state=_random(),
        browser=_random(),
        verifier=secrets.token_urlsafe(48),
        nonce=secrets.token_urlsafe(24),
    )
    await _keep(
        STATE,
        begun.state,
        begun.browser,
        now() + STATE_LASTS,
        user_id=linking.user if linking else None,
        data={
            "provider": provider,
            "returnTo": return_to,
            "sessionId": linking.session_id if linking else None,
        },
        secret=msgspec.json.encode(_Secrets(begun.verifier, begun.nonce)),
    )
    return begun


async def take(provider: str, state: str | None, browser: str | None) -> Flow:
    """The flow that comes back, which is thereby over.

    Raises Unauthenticated `invalid_oauth_state`: unknown, used, too old, of another browser or provider.
    """
    row = await _take(STATE, state, browser)
    if row is None or row["data"]["provider"] != provider:
        raise Unauthenticated("This sign-in was not begun here: begin again.", code="invalid_oauth_state")
    said = msgspec.json.decode(row["secret"], type=_Secrets)
    return Flow(
        verifier=said.verifier,
        nonce=said.nonce,
        return_to=row["data"]["returnTo"],
        user_id=row["user_id"],
        session_id=row["data"]["sessionId"],
    )


async def leave(profile: Profile, browser: str) -> str:
    """A code that this browser may exchange for what the provider said."""
    code = _random()
    await _keep(
        CODE,
        code,
        browser,
        now() + CODE_LASTS,
        data={"provider": profile.provider},
        secret=msgspec.json.encode(profile),
    )
    return code


async def redeem(code: str, browser: str | None) -> Profile:
    """What the provider said. Raises Unauthenticated `invalid_oauth_code`."""
    row = await _take(CODE, code, browser)
    if row is None:
        raise Unauthenticated("This code is not valid: sign in again.", code="invalid_oauth_code")
    return msgspec.json.decode(row["secret"], type=Profile)


async def _keep(
    purpose: str,
    token: str,
    browser: str,
    until: datetime,
    *,
    data: dict[str, Any],
    secret: bytes,
    user_id: str | None = None,
) -> None:
    row_id = ids.new("ott")
    async with db.transaction():
        await _sweep()
        await OneTimeTokens.insert(
            OneTimeTokens(
                id=row_id,
                purpose=purpose,
                hash=_hash(purpose, token, browser),
                user_id=user_id,
                data={**data, "sealed": crypto.sealed(_place(row_id), secret)},
                expires_at=until,
                created_at=now(),
            )
        )


async def _take(purpose: str, token: str | None, browser: str | None) -> dict[str, Any] | None:
    """The row of this token in this browser, used up: of two who come at once, one gets it."""
    if not token or not browser:
        return None
    row = await db.fetchrow(
        """UPDATE one_time_tokens SET used_at = $3
           WHERE hash = $1 AND purpose = $2 AND used_at IS NULL AND expires_at > $3
           RETURNING id, user_id, data""",
        _hash(purpose, token, browser),
        purpose,
        now(),
    )
    if row is None:
        return None
    try:
        secret = crypto.opened(_place(row["id"]), row["data"]["sealed"])
    except crypto.Unopenable:
        return None  # sealed with a key that was taken away meanwhile: as good as too old
    return {"user_id": row["user_id"], "data": row["data"], "secret": secret}


async def _sweep() -> None:
    """Whoever adds a row takes some old ones away, so that beginning flows in vain fills no table."""
    await db.execute(
        """DELETE FROM one_time_tokens WHERE id IN (
               SELECT id FROM one_time_tokens WHERE expires_at < $1 AND purpose = ANY($2)
               LIMIT $3 FOR UPDATE SKIP LOCKED)""",
        now(),
        [STATE, CODE],
        SWEPT_AT_ONCE,
    )


def _random() -> str:
    return secrets.token_urlsafe(32)


def _hash(purpose: str, token: str, browser: str) -> str:
    """Both have 256 random bits, which need no slow hash."""
    parts = (hashlib.sha256(part.encode()).digest() for part in (purpose, token, browser))
    return hashlib.sha256(b"".join(parts)).hexdigest()


def _place(row_id: str) -> str:
    return f"one_time_tokens/{row_id}/data"
