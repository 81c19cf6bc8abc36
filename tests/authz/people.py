"""People, written to the database as registering leaves them: a matrix of thousands hashes no password."""

import secrets
from datetime import timedelta
from typing import Final

from domain import db, ids
from domain.auth import passwords, tokens
from domain.clock import now
from tests.factories import PASSWORD, Api, Person

_hashed: Final[list[str]] = []


async def someone(api: Api, name: str, *, verified: bool = True, staff: bool = False) -> Person:
    """An account with its personal team, profile and a session that has just begun; `name` is in all."""
    if not _hashed:
        _hashed.append(await passwords.hashed(PASSWORD))
    user_id, team_id, at = ids.new("user"), ids.new("team"), now()
    email = f"{name.lower().replace(' ', '.')}.{secrets.token_hex(4)}@example.org"
    async with db.transaction():
        await db.execute(
            """INSERT INTO users (id, email, name, password_hash, email_verified_at, is_staff,
                                  personal_team_id, created_at, updated_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)""",
            user_id, email, name, _hashed[0], at if verified else None, staff, team_id, at,
        )  # fmt: skip
        await db.execute(
            """INSERT INTO user_profiles (user_id, bio, avatar_url, preferences, created_at, updated_at)
               VALUES ($1, $2, $3, jsonb_build_object('of', $2::text), $4, $4)""",
            user_id, f"{name} was here", f"https://example.org/{name.replace(' ', '-')}.png", at,
        )  # fmt: skip
        await db.execute(
            """INSERT INTO teams (id, name, slug, owner_id, personal, created_at, updated_at)
               VALUES ($1, $2, $3, $4, true, $5, $5)""",
            team_id, f"{name} alone", team_id.replace("_", "-"), user_id, at,
        )  # fmt: skip
        await into(team_id, user_id, "owner")
        session_id = await session(user_id, agent=name)
    token = tokens.access(user_id, session_id)
    return Person(api, user_id, email, name, token, "", session_id, team_id)


async def into(team_id: str, user_id: str, role: str) -> None:
    """Put somebody into a team."""
    await db.execute(
        "INSERT INTO team_members (id, team_id, user_id, role, joined_at) VALUES ($1, $2, $3, $4, $5)",
        ids.new("mem"), team_id, user_id, role, now(),
    )  # fmt: skip


async def session(user_id: str, *, agent: str) -> str:
    """One more session; its id."""
    session_id, at = ids.new("sess"), now()
    await db.execute(
        """INSERT INTO user_sessions (id, user_id, token, expires_at, user_agent, amr, last_seen_at,
                                      created_at)
           VALUES ($1, $2, $3, $4, $5, '{pwd}', $6, $6)""",
        session_id, user_id, tokens.hashed(session_id), at + timedelta(days=1), agent, at,
    )  # fmt: skip
    return session_id


async def passkey(user_id: str, *, name: str) -> str:
    """A passkey that nobody can use; its id."""
    passkey_id = ids.new("pkey")
    await db.execute(
        """INSERT INTO passkeys (id, user_id, credential_id, public_key, name, created_at)
           VALUES ($1, $2, $3, '\\x00', $4, $5)""",
        passkey_id, user_id, secrets.token_urlsafe(16), name, now(),
    )  # fmt: skip
    return passkey_id


async def identity(user_id: str, *, name: str) -> str:
    """An account at a provider; its id."""
    identity_id, at = ids.new("oid"), now()
    await db.execute(
        """INSERT INTO oauth_identities (id, user_id, provider, subject, email, last_used_at, created_at)
           VALUES ($1, $2, 'elsewhere', $3, $4, $5, $5)""",
        identity_id, user_id, secrets.token_hex(8), f"{name}@elsewhere.example", at,
    )  # fmt: skip
    return identity_id
