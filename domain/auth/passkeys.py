"""Passkeys: added, listed, renamed, taken away, and signed in with.

Owns    passkeys
Says    auth.passkey_added, auth.passkey_renamed, auth.passkey_removed, auth.passkey_refused
Rules   signing in with one asks for no address and tells nothing of any; it is two factors by itself. Nobody
        takes away their own last way in.
"""

from typing import Final

from webauthn.helpers import bytes_to_base64url

from domain import db, ids, last_commit
from domain.actor import Actor
from domain.auth import assertions, ceremony, mfa, one_time, sessions, undoing, ways_in
from domain.auth import service as auth
from domain.auth.assertions import CHALLENGE_LASTS, Refusal
from domain.auth.model import SignedIn
from domain.auth.passkeys_model import (
    NewPasskey,
    Options,
    Passkey,
    PasskeyAdded,
    PasskeyLogin,
    PasskeyPatch,
    PasskeyRefused,
    PasskeyRemoved,
    PasskeyRenamed,
)
from domain.auth.proofs import Proof
from domain.auth.tables import Passkeys
from domain.auth.ways_in import Way
from domain.clock import now
from domain.errors import Conflict, FieldError, Invalid, NotFound, Unauthenticated
from domain.record import record
from domain.users import service as users

PASSKEYS_MAX: Final = 20


async def registration_options(actor: Actor) -> Options:
    """A challenge for a new passkey of the caller, for this session.

    Raises Conflict `too_many_passkeys`, Forbidden `step_up_required`, Unavailable `passkeys_not_configured`.
    """
    ceremony.party()
    await mfa.require_fresh(actor)
    user, known = await users.me(actor), await assertions.credentials(actor.user)
    _room_for_one(len(known))
    challenge = await one_time.issue(
        "passkey_register", lasts=CHALLENGE_LASTS, user_id=user.id, data={"session": actor.session_id}
    )
    return Options(
        public_key=ceremony.creation_options(
            challenge, user_id=user.id, email=user.email, name=user.name, known=known
        )
    )


async def add(actor: Actor, given: NewPasskey) -> Passkey:
    """One more passkey; that a second factor is fresh was asked for with the challenge.

    Raises Invalid `invalid_passkey`, Conflict `passkey_exists` or `too_many_passkeys`.
    """
    credential = given.credential
    try:
        # A commit of its own: whatever comes of it, the challenge is spent.
        challenge = await assertions.spent_challenge(
            "passkey_register",
            credential.response.client_data_json,
            user_id=actor.user,
            session_id=actor.session_id,
        )
        new = ceremony.registered(credential, challenge)
    except ceremony.Refused as refused:
        detail = "This is not a passkey that was asked for."
        wrong = FieldError("/credential", "invalid_passkey", detail)
        raise Invalid(detail, code="invalid_passkey", errors=(wrong,)) from refused
    async with last_commit.concluding():
        # The user stays locked, so that two at once are counted one after the other.
        await sessions.hold(actor)
        _room_for_one(len(await assertions.credentials(actor.user)))
        at = now()
        row = await db.fetchrow(
            """INSERT INTO passkeys (id, user_id, credential_id, public_key, sign_count, transports, name,
                                     backed_up, created_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
               ON CONFLICT (credential_id) DO NOTHING RETURNING *""",
            ids.new("pkey"),
            actor.user,
            bytes_to_base64url(new.credential_id),
            new.credential_public_key,
            new.sign_count,
            credential.response.transports,
            given.name,
            new.credential_backed_up,
            at,
        )
        if row is None:
            raise Conflict("This passkey is registered already.", code="passkey_exists")
        passkey = db.as_struct(Passkey, row)
        await record(actor, PasskeyAdded(team_id=_team(actor), user_id=actor.user, passkey=passkey))
        await undoing.offer(actor, Way("passkey", passkey.id, passkey.name, at))
    return passkey


async def listed(actor: Actor) -> list[Passkey]:
    """The caller's passkeys, oldest first; there are never more than PASSKEYS_MAX."""
    rows = await db.fetch("SELECT * FROM passkeys WHERE user_id = $1 ORDER BY id", actor.user)
    return [db.as_struct(Passkey, row) for row in rows]


async def rename(actor: Actor, passkey_id: str, patch: PasskeyPatch) -> Passkey:
    """Call it something else. Raises NotFound for one that is not the caller's."""
    async with db.transaction():
        row = await db.fetchrow(
            "SELECT * FROM passkeys WHERE id = $1 AND user_id = $2 FOR UPDATE", passkey_id, actor.user
        )
        if row is None:
            raise NotFound.of("passkey")
        before = db.as_struct(Passkey, row)
        if before.name == patch.name:
            return before
        await Passkeys.update({Passkeys.name: patch.name}).where(Passkeys.id == passkey_id)
        after = db.as_struct(Passkey, {**row, "name": patch.name})
        await record(actor, PasskeyRenamed(team_id=_team(actor), user_id=actor.user, passkey=after))
    return after


async def remove(actor: Actor, passkey_id: str) -> None:
    """It is good no more.

    Raises NotFound for one that is not the caller's, Conflict `last_way_in`, Forbidden `step_up_required`.
    """
    await mfa.require_fresh(actor)
    async with db.transaction():
        await sessions.hold(actor)
        row = await db.fetchrow(
            "DELETE FROM passkeys WHERE id = $1 AND user_id = $2 RETURNING *", passkey_id, actor.user
        )
        if row is None:
            raise NotFound.of("passkey")
        await ways_in.require_one(actor.user)
        passkey = db.as_struct(Passkey, row)
        await record(actor, PasskeyRemoved(team_id=_team(actor), user_id=actor.user, passkey=passkey))


async def login_options() -> Options:
    """A challenge for whichever passkey the user chooses."""
    return await assertions.options("passkey_login")


async def login(actor: Actor, given: PasskeyLogin) -> SignedIn:
    """A new session. Raises Unauthenticated `invalid_passkey`, in the same words for all that is wrong."""
    async with db.transaction():
        judged = await assertions.judge(given.credential, "passkey_login")
        if isinstance(judged, Refusal) and judged.user_id and judged.passkey_id and judged.personal_team_id:
            refused = PasskeyRefused(
                team_id=judged.personal_team_id,
                user_id=judged.user_id,
                passkey_id=judged.passkey_id,
                reason=judged.reason,
            )
            await record(actor, refused)
    if isinstance(judged, Refusal):
        raise Unauthenticated("This passkey is not good here.", code="invalid_passkey")
    proof = Proof(
        user_id=judged.user_id,
        personal_team_id=judged.personal_team_id,
        epoch=judged.epoch,
        amr=judged.amr,
        second_factor_at=now(),
    )
    return await auth.signed_in(actor, proof)


def _room_for_one(count: int) -> None:
    if count >= PASSKEYS_MAX:
        raise Conflict(f"An account has at most {PASSKEYS_MAX} passkeys.", code="too_many_passkeys")


def _team(actor: Actor) -> str:
    assert actor.personal_team_id is not None, "whoever is signed in has a personal team"
    return actor.personal_team_id
