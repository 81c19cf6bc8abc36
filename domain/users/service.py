"""Users: accounts.

Owns    users, user_profiles
Says    users.changed, users.profile_changed, users.disabled, users.enabled, users.exported, users.deleted
Rules   an e-mail address belongs to one account, whatever its case.
"""

import secrets
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import UNSET

from domain import db, pages
from domain.actor import Actor
from domain.clock import now
from domain.conditions import Conditions
from domain.errors import AnyOf, Conflict, FieldError, Forbidden, Invalid, NotFound, Stale
from domain.pages import Page
from domain.record import record
from domain.users.model import (
    NewProfile,
    Profile,
    ProfileChanged,
    PublicUser,
    StaffUser,
    User,
    UserChanged,
    UserPatch,
)
from domain.users.tables import Users

DELETED_NAME: Final = "Deleted user"
PREFERENCES_BYTES_MAX: Final = 16 * 1024


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """What signing in needs to know of an account; never leaves the server."""

    id: str
    password_hash: str | None
    personal_team_id: str
    credentials_epoch: int
    disabled: bool


async def me(actor: Actor) -> User:
    """The caller's own account."""
    return await _get(actor.user)


async def change(actor: Actor, patch: UserPatch, *, if_version: AnyOf | None = None) -> tuple[User, User]:
    """Change one's own account: as it was, and as it is. A change that changes nothing says nothing.

    Raises Stale where `if_version` lacks the current one.
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


async def profile(actor: Actor) -> Profile:
    """The caller's own profile."""
    return await _profile(actor.user)


async def put_profile(actor: Actor, given: NewProfile, *, if_version: AnyOf | None = None) -> Profile:
    """Replace one's own profile; what changes nothing says nothing.

    Raises Stale where `if_version` lacks the current one.
    """
    async with db.transaction():
        before = await _profile(actor.user, lock=True)
        Stale.unless(before, if_version)
        _require_small(given.preferences)
        same = (given.bio, given.avatar_url, given.preferences)
        if same == (before.bio, before.avatar_url, before.preferences):
            return before
        after = Profile(
            user_id=before.user_id,
            bio=given.bio,
            avatar_url=given.avatar_url,
            preferences=given.preferences,
            version=before.version + 1,
            updated_at=now(),
        )
        await db.execute(
            """UPDATE user_profiles
               SET bio = $2, avatar_url = $3, preferences = $4, version = $5, updated_at = $6
               WHERE user_id = $1""",
            after.user_id,
            after.bio,
            after.avatar_url,
            after.preferences,
            after.version,
            after.updated_at,
        )
        await record(actor, ProfileChanged(team_id=actor.team(None), before=before, after=after))
    return after


async def create(
    user_id: str,
    *,
    email: str,
    name: str,
    password_hash: str | None,
    personal_team_id: str,
    email_verified_at: datetime | None = None,
) -> User:
    """Write a new account; its personal team follows in the same transaction (the foreign key is deferred).

    Raises Conflict `email_taken`. Says nothing by itself: registering does (domain/auth).
    """
    at = now()
    row = await db.fetchrow(
        """INSERT INTO users
               (id, email, name, password_hash, is_staff, personal_team_id, version, created_at, updated_at,
                email_verified_at)
           VALUES ($1, $2, $3, $4, false, $5, 1, $6, $6, $7) ON CONFLICT (email) DO NOTHING RETURNING *""",
        user_id,
        email,
        name,
        password_hash,
        personal_team_id,
        at,
        email_verified_at,
    )
    if row is None:
        raise Conflict("There is already an account with this e-mail address.", code="email_taken")
    await db.execute(
        "INSERT INTO user_profiles (user_id, bio, preferences, version, created_at, updated_at) "
        "VALUES ($1, '', '{}', 1, $2, $2)",
        user_id,
        at,
    )
    return db.as_struct(User, row)


async def credentials(email: str) -> Credentials | None:
    """For signing in only."""
    row = await db.fetchrow(
        """SELECT id, password_hash, personal_team_id, credentials_epoch, disabled_at IS NOT NULL AS disabled
           FROM users WHERE email = $1""",
        email,
    )
    return db.as_struct(Credentials, row) if row else None


async def named(email: str) -> StaffUser | None:
    """The account with this address, open or not, for flows that answer all alike."""
    row = await db.fetchrow("SELECT * FROM users WHERE email = $1", email)
    return db.as_struct(StaffUser, row) if row else None


async def at_address(user_id: str, email: str) -> User | None:
    """The account, locked, if it is open and still has this address."""
    row = await db.fetchrow(
        """SELECT * FROM users WHERE id = $1 AND email = $2 AND disabled_at IS NULL FOR NO KEY UPDATE""",
        user_id,
        email,
    )
    return db.as_struct(User, row) if row else None


async def lock(user_id: str) -> None:
    """Whoever locks an account changes it one after another, until the transaction ends."""
    await db.execute("SELECT FROM users WHERE id = $1 FOR NO KEY UPDATE", user_id)


async def locked(user_id: str) -> User:
    """The account, locked. Raises NotFound."""
    return await _get(user_id, lock=True)


async def next_epoch(user_id: str) -> None:
    """What somebody has shown before to sign in is good no more (domain/auth/proofs.py)."""
    await db.execute("UPDATE users SET credentials_epoch = credentials_epoch + 1 WHERE id = $1", user_id)


async def password_hash(user_id: str) -> str | None:
    """For showing that one knows the password only."""
    found: str | None = await db.fetchval("SELECT password_hash FROM users WHERE id = $1", user_id)
    return found


async def set_password(user_id: str, password_hash: str | None) -> None:
    """Another password, or none; what that means for sessions is for domain/auth."""
    await db.execute(
        "UPDATE users SET password_hash = $2, updated_at = $3 WHERE id = $1", user_id, password_hash, now()
    )


async def set_email(user: User, email: str, *, verified_at: datetime | None) -> User:
    """The account as it is with this address, or with what is known of it changed.

    Raises asyncpg.UniqueViolationError where another account has it. The news is for domain/auth.
    """
    row = await db.fetchrow(
        """UPDATE users SET email = $2, email_verified_at = $3, version = version + 1, updated_at = $4
           WHERE id = $1 RETURNING *""",
        user.id,
        email,
        verified_at,
        now(),
    )
    assert row is not None, "the caller has it locked"
    return db.as_struct(User, row)


async def rehashed(user_id: str, *, old: str, new: str) -> None:
    """Keep another hash of the same password, unless the password was changed in the meantime."""
    await db.execute(
        "UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2", user_id, old, new
    )


async def public(user_id: str) -> PublicUser:
    """The public face of an account.

    Raises NotFound; whether the caller may see it is for the caller to ask.
    """
    row = await db.fetchrow("SELECT id, name FROM users WHERE id = $1", user_id)
    if row is None:
        raise NotFound.of("user")
    return db.as_struct(PublicUser, row)


async def find(user_id: str) -> PublicUser:
    """The open account with this id. Raises NotFound."""
    row = await db.fetchrow("SELECT id, name FROM users WHERE id = $1 AND disabled_at IS NULL", user_id)
    if row is None:
        raise NotFound.of("user")
    return db.as_struct(PublicUser, row)


async def is_open(user_id: str) -> bool:
    """Whether this is an account that is neither closed nor disabled."""
    found: bool = await db.fetchval(
        "SELECT EXISTS (SELECT FROM users WHERE id = $1 AND disabled_at IS NULL)", user_id
    )
    return found


async def listed(actor: Actor, query: str | None, *, limit: int, cursor: str | None) -> Page[StaffUser]:
    """All accounts, newest first, or those whose name or address has `query` in it. For staff."""
    require_staff(actor)
    scope = f"users {actor.user} {query}"
    asked = Conditions("true")
    asked.must("(name ILIKE '%' || {0} || '%' OR email::text ILIKE '%' || {0} || '%')", db.like(query))
    asked.must("id < {}", pages.unseal(cursor, scope=scope)[0] if cursor else None)
    rows = await db.fetch(
        f"SELECT * FROM users WHERE {asked.where} ORDER BY id DESC LIMIT {limit + 1:d}",  # noqa: S608 - names of ours
        *asked.args,
    )
    return pages.cut(
        [db.as_struct(StaffUser, row) for row in rows], limit, scope=scope, key=lambda user: [user.id]
    )


async def for_staff(actor: Actor, user_id: str, *, lock: bool = False) -> StaffUser:
    """One account, as staff sees it. Raises NotFound."""
    require_staff(actor)
    row = await db.fetchrow(
        f"SELECT * FROM users WHERE id = $1 {'FOR NO KEY UPDATE' if lock else ''}",  # noqa: S608 - no input
        user_id,
    )
    if row is None:
        raise NotFound.of("user")
    return db.as_struct(StaffUser, row)


def require_staff(actor: Actor) -> None:
    """Raises Forbidden `staff_only`."""
    if not actor.is_staff:
        raise Forbidden("This is for the platform's staff.", code="staff_only")


async def set_disabled(user_id: str, at: datetime | None) -> None:
    """Shut an account, or open it again; its sessions and the news of it are for domain/auth/accounts.py."""
    await db.execute(
        "UPDATE users SET disabled_at = $2, version = version + 1, updated_at = $3 WHERE id = $1",
        user_id,
        at,
        now(),
    )


async def erase(user_id: str) -> None:
    """Nothing in the row tells any more who this was; what refers to it goes on to."""
    at = now()
    await db.execute(
        """UPDATE users SET email = $2, name = $3, password_hash = NULL, email_verified_at = NULL,
               is_staff = false, disabled_at = $4, deleted_at = $4, version = version + 1, updated_at = $4
           WHERE id = $1""",
        user_id,
        f"{secrets.token_hex(16)}@deleted.invalid",
        DELETED_NAME,
        at,
    )
    await db.execute(
        """UPDATE user_profiles SET bio = '', avatar_url = NULL, preferences = '{}', version = version + 1,
               updated_at = $2 WHERE user_id = $1""",
        user_id,
        at,
    )


async def _get(user_id: str, *, lock: bool = False) -> User:
    row = await db.fetchrow(
        f"SELECT * FROM users WHERE id = $1 {'FOR NO KEY UPDATE' if lock else ''}",  # noqa: S608 - no input
        user_id,
    )
    if row is None:
        raise NotFound.of("user")
    return db.as_struct(User, row)


async def _profile(user_id: str, *, lock: bool = False) -> Profile:
    row = await db.fetchrow(
        f"SELECT * FROM user_profiles WHERE user_id = $1 {'FOR NO KEY UPDATE' if lock else ''}",  # noqa: S608 - no input
        user_id,
    )
    if row is None:
        raise NotFound.of("profile")
    return db.as_struct(Profile, row)


def _require_small(preferences: dict[str, Any]) -> None:
    if len(msgspec.json.encode(preferences)) > PREFERENCES_BYTES_MAX:
        detail = f"They take more than {PREFERENCES_BYTES_MAX} bytes as JSON."
        raise Invalid(detail, errors=(FieldError("/preferences", "invalid", detail),))
