"""Undoing: a new way in is told to the owner, who can take it away again by a link.

Rules   whoever is inside for a moment may add a way in, and shut the owner out with it: a second factor is
        asked of the owner from then on. So the link needs nothing else, nothing but time and itself makes it
        void, and it ends all sessions. It takes away exactly what it is about, even the last way in: a new
        password by a link opens the account again. Only an address that was confirmed is told.
"""

from datetime import timedelta
from typing import Final

from domain import db, links
from domain.actor import Actor
from domain.auth import one_time, post, recovery_codes, sessions
from domain.auth.mails_model import WayInUndone
from domain.auth.mfa_model import FactorRemoved
from domain.auth.oauth_model import IdentityUnlinked, OauthIdentity
from domain.auth.passkeys_model import Passkey, PasskeyRemoved
from domain.auth.ways_in import Way
from domain.events import Event
from domain.record import record
from domain.users import service as users
from domain.users.model import User

PURPOSE: Final = "undo_way_in"
LASTS: Final = timedelta(days=7)
_TABLES: Final = {"totp": "mfa_factors", "passkey": "passkeys", "identity": "oauth_identities"}


async def offer(actor: Actor, way: Way) -> None:
    """Mail the caller that there is this way in now; in the transaction that adds it."""
    user = await users.me(actor)
    if user.email_verified_at is None:
        return  # it may be somebody else's address, who takes the account over empty if they ever come
    token = await one_time.issue(
        PURPOSE, lasts=LASTS, user_id=user.id, email=user.email, data={"kind": way.kind, "id": way.id}
    )
    await post.tell(
        user.email,
        "way_in_added",
        name=user.name,
        way=way.called(),
        link=links.to("undo-way-in", token),
    )


async def undo(actor: Actor, token: str) -> None:
    """It was not they who added it: it goes, if it is still there, and all sessions end.

    Raises Invalid `link_invalid`.
    """
    async with db.transaction():
        held = await one_time.consume(PURPOSE, token)
        assert held.user_id is not None, "it is for a user"
        if not await users.is_open(held.user_id):
            raise one_time.invalid()
        user = await users.locked(held.user_id)
        actor = actor.acting_as(user.id, personal_team_id=user.personal_team_id)
        kind, way_id = held.data["kind"], held.data["id"]
        gone = await _gone(user, kind, way_id)
        undone = WayInUndone(team_id=user.personal_team_id, user_id=user.id, kind=kind, way_id=way_id)
        await record(actor, undone)
        if gone is not None:
            await record(actor, gone)
        await sessions.end_all(actor, "way_in_undone")


async def _gone(user: User, kind: str, way_id: str) -> Event | None:
    """Take it away, an app with its recovery codes; None where it is gone already."""
    row = await db.fetchrow(
        f"DELETE FROM {_TABLES[kind]} WHERE id = $1 AND user_id = $2 RETURNING *",  # noqa: S608 - names of ours
        way_id,
        user.id,
    )
    if row is None:
        return None
    team_id, user_id = user.personal_team_id, user.id
    if kind == "passkey":
        return PasskeyRemoved(team_id=team_id, user_id=user_id, passkey=db.as_struct(Passkey, row))
    if kind == "identity":
        identity = db.as_struct(OauthIdentity, row)
        return IdentityUnlinked(team_id=team_id, user_id=user_id, identity=identity)
    await recovery_codes.void(user_id)
    return FactorRemoved(team_id=team_id, user_id=user_id, factor="totp")
