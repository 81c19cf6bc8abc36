"""Proofs: somebody has shown whose account they come for, and is on the way to a session.

Rules   a proof is good until somebody is put out of the account. Whatever ends all sessions raises the
        account's epoch (users.next_epoch). A proof says in which epoch it was judged, and is held to that
        under the account's lock when the session begins: so what ends sessions ends sign-ins under way, too.
"""

from datetime import datetime
from typing import Any, Final

import msgspec

from domain import crypto, db
from domain.auth.oauth_model import Profile
from domain.errors import Unauthenticated
from domain.users.model import User

_BEFORE_EPOCHS: Final = -1  # of a second step that was begun before there were any: no account's


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """Whose account, judged in which epoch, shown in which ways (`amr`, RFC 8176).

    `second_factor_at` is when a second factor was shown, None while it was not. `linking` is the account at a
    provider that they came with and that is theirs from the session on; not before, for a second factor may
    be missing.
    """

    user_id: str
    personal_team_id: str
    epoch: int
    amr: tuple[str, ...]
    second_factor_at: datetime | None = None
    linking: Profile | None = None


async def of(user_id: str, *, amr: tuple[str, ...]) -> Proof:
    """The proof of somebody who has shown it just now, in the transaction in which they did."""
    row = await db.fetchrow("SELECT personal_team_id, credentials_epoch FROM users WHERE id = $1", user_id)
    assert row is not None, "somebody has shown to be this user"
    return Proof(
        user_id=user_id,
        personal_team_id=row["personal_team_id"],
        epoch=row["credentials_epoch"],
        amr=amr,
    )


async def account(proof: Proof) -> User | None:
    """The account, locked, if it is open and the proof still good."""
    row = await db.fetchrow(
        """SELECT * FROM users WHERE id = $1 AND credentials_epoch = $2 AND disabled_at IS NULL
           FOR NO KEY UPDATE""",
        proof.user_id,
        proof.epoch,
    )
    return db.as_struct(User, row) if row else None


def kept(proof: Proof) -> dict[str, Any]:
    """What is kept of a proof while the second factor is awaited: the data of an `mfa` token."""
    data: dict[str, Any] = {"amr": list(proof.amr), "epoch": proof.epoch}
    if proof.linking is not None:
        data["linking"] = crypto.sealed(_place(proof.user_id), msgspec.json.encode(proof.linking))
    return data


def resumed(user_id: str, personal_team_id: str, data: dict[str, Any]) -> Proof:
    """The proof that was kept. Raises Unauthenticated `invalid_mfa_token` where nobody can read it now."""
    linking = None
    if "linking" in data:
        try:
            linking = msgspec.json.decode(crypto.opened(_place(user_id), data["linking"]), type=Profile)
        except crypto.Unopenable as gone:  # sealed with a key that was taken away meanwhile
            raise over() from gone
    return Proof(
        user_id=user_id,
        personal_team_id=personal_team_id,
        epoch=data.get("epoch", _BEFORE_EPOCHS),
        amr=tuple(data["amr"]),
        linking=linking,
    )


def over() -> Unauthenticated:
    """What is said of a second step that nothing can come of."""
    return Unauthenticated("This sign-in is over: begin again.", code="invalid_mfa_token")


def _place(user_id: str) -> str:
    return f"one_time_tokens/mfa of {user_id}/linking"
