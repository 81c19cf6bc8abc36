"""Users: accounts.

Owns    users
Says    users.changed
Rules   an e-mail address belongs to one account, whatever its case.
"""

import msgspec
from msgspec import UNSET

from domain import db
from domain.actor import Actor
from domain.clock import now
from domain.errors import Conflict, NotFound, Stale
from domain.record import record
from domain.users.model import PublicUser, User, UserChanged, UserPatch
from domain.users.tables import Users


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """What signing in needs to know of an account; never leaves the server."""

    id: str
    password_hash: str | None
    personal_team_id: str
    disabled: bool


async def me(actor: Actor) -> User:
    """The caller's own account."""
    return await _get(actor.user)


async def change(actor: Actor, patch: UserPatch, *, if_version: int | None = None) -> tuple[User, User]:
    """Change one's own account: as it was, and as it is. A change that changes nothing says nothing.

    Raises Stale where `if_version` is not the current one.
    """
    async with db.transaction():
        before = await _get(actor.user, lock=True)
        Stale.unless(before, if_version)
        after = before if patch.name is UNSET else msgspec.structs.replace(before, name=patch.name)
        if after == before:
            return before, before
        after = msgspec.structs.replace(after, version=before.version + 1, updated_at=now())
        await Users.update(
            {Users.name: after.name, Users.version: after.version, Users.updated_at: after.updated_at}
        ).where(Users.id == after.id)
        await record(actor, UserChanged(team_id=after.personal_team_id, before=before, after=after))
    return before, after


async def create(
    user_id: str, *, email: str, name: str, password_hash: str | None, personal_team_id: str
) -> User:
    """Write a new account; its personal team follows in the same transaction (the foreign key is deferred).

    Raises Conflict `email_taken`. Says nothing by itself: registering does (domain/auth).
    """
    at = now()
    row = await db.fetchrow(
        """INSERT INTO users
               (id, email, name, password_hash, is_staff, personal_team_id, version, created_at, updated_at)
           VALUES ($1, $2, $3, $4, false, $5, 1, $6, $6) ON CONFLICT (email) DO NOTHING RETURNING *""",
        user_id,
        email,
        name,
        password_hash,
        personal_team_id,
        at,
    )
    if row is None:
        raise Conflict("There is already an account with this e-mail address.", code="email_taken")
    return db.as_struct(User, row)


async def credentials(email: str) -> Credentials | None:
    """For signing in only."""
    row = await db.fetchrow(
        """SELECT id, password_hash, personal_team_id, disabled_at IS NOT NULL AS disabled
           FROM users WHERE email = $1""",
        email,
    )
    return db.as_struct(Credentials, row) if row else None


async def public(user_id: str) -> PublicUser:
    """The public face of an account.

    Raises NotFound; whether the caller may see it is for the caller to ask.
    """
    row = await db.fetchrow("SELECT id, name FROM users WHERE id = $1", user_id)
    if row is None:
        raise NotFound.of("user")
    return db.as_struct(PublicUser, row)


async def find(*, user_id: str | None, email: str | None) -> PublicUser:
    """The account with this id or address. Raises NotFound."""
    row = await db.fetchrow(
        "SELECT id, name FROM users WHERE (id = $1 OR email = $2) AND disabled_at IS NULL", user_id, email
    )
    if row is None:
        raise NotFound.of("user")
    return db.as_struct(PublicUser, row)


async def _get(user_id: str, *, lock: bool = False) -> User:
    row = await db.fetchrow(
        f"SELECT * FROM users WHERE id = $1 {'FOR NO KEY UPDATE' if lock else ''}",  # noqa: S608 - no input
        user_id,
    )
    if row is None:
        raise NotFound.of("user")
    return db.as_struct(User, row)
