"""API keys: what programs come with. Made, changed, rotated and revoked by people, never by keys.

Owns    api_keys
Says    auth.api_key_created, auth.api_key_changed, auth.api_key_rotated, auth.api_key_revoked,
        auth.api_key_refused
Rules   a key may what its user may now, its scopes allow, and in its team if it has one; nobody gives it what
        they may not do themselves. Its secret is shown once. Only who made it gets it with a new secret, for
        it acts as them; whoever manages a team's keys sees and revokes them.
"""

import ipaddress
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

import asyncpg
import msgspec
from msgspec import UNSET

from domain import db, ids, pages, versions
from domain.actor import Actor
from domain.auth import key_text, mfa, sessions
from domain.auth.api_keys_model import (
    ApiKey,
    ApiKeyChanged,
    ApiKeyCreated,
    ApiKeyPatch,
    ApiKeyRefused,
    ApiKeyRevoked,
    ApiKeyRotated,
    ApiKeyWithSecret,
    NewApiKey,
    Rotation,
)
from domain.clock import now
from domain.errors import Conflict, FieldError, Forbidden, Invalid, NotFound
from domain.pages import Page
from domain.record import record
from domain.teams import policy

KEYS_MAX: Final = 100
NOTED_EVERY: Final = timedelta(minutes=1)
TOLD_MAX: Final = 10_000  # keys that this process keeps in mind
_KEYS: Final = "SELECT k.*, u.personal_team_id FROM api_keys k JOIN users u ON u.id = k.user_id"


async def create(actor: Actor, new: NewApiKey) -> ApiKeyWithSecret:
    """A key for the caller.

    Raises Forbidden `scope_above_own`, `step_up_required`; Conflict `too_many_api_keys`.
    """
    policy.require_session(actor)
    await mfa.require_fresh(actor)
    scopes, addresses = _scopes(new.scopes), _addresses(new.addresses)
    if new.expires_at is not None and new.expires_at <= now():
        raise _invalid("/expiresAt", "in_the_past", "A key that has ended already is of no use.")
    key_id = ids.new("key")
    text = key_text.new(key_id)
    async with db.transaction():
        await sessions.hold(actor)
        await db.execute("SELECT pg_advisory_xact_lock(hashtext($1))", f"api keys of {actor.user}")
        if new.team_id is not None:
            await policy.require(actor, new.team_id, "api_keys:manage")
        await _require_held(actor, new.team_id, scopes)
        held = "SELECT count(*) FROM api_keys WHERE user_id = $1 AND status = 'active'"
        if await db.fetchval(held, actor.user) >= KEYS_MAX:
            raise Conflict(f"You have {KEYS_MAX} API keys already.", code="too_many_api_keys")
        # Never before the membership that it acts for, whatever the clock of another process said of that.
        await db.execute(
            """INSERT INTO api_keys
                   (id, user_id, team_id, name, key, scopes, addresses, api_version, status, expires_at,
                    created_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $10, 'active', $8, GREATEST($9, (
                   SELECT joined_at FROM team_members WHERE team_id = $3 AND user_id = $2)))""",
            key_id,
            actor.user,
            new.team_id,
            new.name,
            key_text.hashed(text),
            scopes,
            addresses,
            new.expires_at,
            now(),
            versions.NEWEST,
        )
        row = await _own(actor, key_id)
        await record(actor, ApiKeyCreated(team_id=_trail(row), key=_key(row)))
    return _with_secret(_key(row), text)


async def listed(actor: Actor, team_id: str | None, *, limit: int, cursor: str | None) -> Page[ApiKey]:
    """The caller's keys, or all of a team for those who manage them; newest first, without revoked ones."""
    policy.require_session(actor)
    if team_id is not None:
        await policy.require(actor, team_id, "api_keys:manage")
    scope = f"api keys {actor.user} {team_id}"
    before = pages.unseal(cursor, scope=scope)[0] if cursor else None
    rows = await db.fetch(
        f"""{_KEYS} WHERE {"k.team_id" if team_id else "k.user_id"} = $1 AND k.status = 'active'
              AND ($2::text IS NULL OR k.id < $2)
            ORDER BY k.id DESC LIMIT $3""",
        team_id or actor.user,
        before,
        limit + 1,
    )
    return pages.cut([_key(row) for row in rows], limit, scope=scope, key=lambda key: [key.id])


async def change(actor: Actor, key_id: str, patch: ApiKeyPatch) -> ApiKey:
    """Change one of the caller's keys; what is taken from it is felt at once, also on open sockets.

    Raises NotFound, Forbidden `scope_above_own`.
    """
    policy.require_session(actor)
    await mfa.require_fresh(actor)
    async with db.transaction():
        await sessions.hold(actor)
        row = await _managed(actor, key_id)
        before = _key(row)
        after = msgspec.structs.replace(
            before,
            name=before.name if patch.name is UNSET else patch.name,
            scopes=before.scopes if patch.scopes is UNSET else _scopes(patch.scopes),
            addresses=before.addresses if patch.addresses is UNSET else _addresses(patch.addresses),
        )
        if after == before:
            return before
        await _require_held(actor, after.team_id, set(after.scopes) - set(before.scopes))
        await db.execute(
            "UPDATE api_keys SET name = $2, scopes = $3, addresses = $4 WHERE id = $1",
            key_id,
            after.name,
            after.scopes,
            after.addresses,
        )
        await record(actor, ApiKeyChanged(team_id=_trail(row), before=before, key=after))
    return after


async def rotate(actor: Actor, key_id: str, by: Rotation) -> ApiKeyWithSecret:
    """A new secret for one of the caller's keys. The text it had stays good for the overlap, no older one.

    Raises NotFound.
    """
    policy.require_session(actor)
    await mfa.require_fresh(actor)
    text = key_text.new(key_id)
    async with db.transaction():
        await sessions.hold(actor)
        row = await _managed(actor, key_id)
        until = now() + timedelta(seconds=by.overlap_seconds) if by.overlap_seconds else None
        await db.execute(
            """UPDATE api_keys SET key = $2, previous_until = $3,
                      previous_key = CASE WHEN $3::timestamptz IS NULL THEN NULL ELSE key END
               WHERE id = $1""",
            key_id,
            key_text.hashed(text),
            until,
        )
        after = msgspec.structs.replace(_key(row), previous_until=until)
        await record(actor, ApiKeyRotated(team_id=_trail(row), key=after))
    return _with_secret(after, text)


async def revoke(actor: Actor, key_id: str) -> None:
    """End a key of the caller's, or of a team whose keys they manage. Raises NotFound for any other."""
    policy.require_session(actor)
    async with db.transaction():
        row = await _locked(key_id)
        if row is None or not (row["user_id"] == actor.user or await _manages(actor, row["team_id"])):
            raise NotFound.of("API key")
        await _revoke(actor, row)


async def end_all(actor: Actor, user_id: str) -> None:
    """Revoke all keys of a user who is put out of the account, in the transaction that is under way."""
    for row in await db.fetch(
        f"{_KEYS} WHERE k.user_id = $1 AND k.status = 'active' ORDER BY k.id FOR UPDATE OF k", user_id
    ):
        await _revoke(actor, row)


async def used(row: asyncpg.Record) -> None:
    """Note that a key was used, once a minute; nobody waits for somebody else who does."""
    at = now()
    if row["last_used"] is not None and at - row["last_used"] < NOTED_EVERY:
        return
    await db.execute(
        """UPDATE api_keys SET last_used = $2 WHERE id = (
               SELECT id FROM api_keys WHERE id = $1 AND (last_used IS NULL OR last_used <= $3)
               FOR NO KEY UPDATE SKIP LOCKED)""",
        row["credential"],
        at,
        at - NOTED_EVERY,
    )


_told: Final[dict[str, datetime]] = {}  # by this process, of which key, when last


async def refused(nobody: Actor, row: asyncpg.Record, reason: str) -> None:
    """Leave in the trail that a known key did not open, once a minute for each key, however often it is."""
    at = now()
    if (told := _told.get(row["credential"])) is not None and at - told < NOTED_EVERY:
        return  # not even asked: whoever tries a wrong secret thousands of times costs no more than one
    if len(_told) >= TOLD_MAX:
        _told.clear()
    _told[row["credential"]] = at
    async with db.transaction():
        due = await db.fetchval(
            """INSERT INTO sign_in_failures AS f (key, failures, last_at) VALUES ($1, 1, $2)
               ON CONFLICT (key) DO UPDATE SET failures = f.failures + 1, last_at = $2 WHERE f.last_at <= $3
               RETURNING true""",
            f"api key {row['credential']}",
            at,
            at - NOTED_EVERY,
        )
        if due:
            event = ApiKeyRefused(
                team_id=row["team_id"] or row["personal_team_id"], key_id=row["credential"], reason=reason
            )
            await record(nobody, event)


async def _require_held(actor: Actor, team_id: str | None, scopes: Collection[str]) -> None:
    """Nobody gives a key what they may not do themselves: in its team, or in any of theirs."""
    roles = (await policy.roles_of([actor.user]))[actor.user]
    counted = [role for of, role in roles.items() if team_id is None or of == team_id]
    beyond = [scope for scope in scopes if not any(policy.grants(role, scope) for role in counted)]
    if beyond:
        policy.note(actor, min(beyond), team_id, roles.get(team_id) if team_id is not None else None)
        raise Forbidden(
            "Nobody gives a key what they may not do themselves.",
            code="scope_above_own",
            scopes=sorted(beyond),
        )


async def _revoke(actor: Actor, row: asyncpg.Record) -> None:
    await db.execute(
        "UPDATE api_keys SET status = 'revoked', previous_key = NULL, previous_until = NULL WHERE id = $1",
        row["id"],
    )
    key = msgspec.structs.replace(_key(row), previous_until=None)
    await record(actor, ApiKeyRevoked(team_id=_trail(row), key=key))


async def _manages(actor: Actor, team_id: str | None) -> bool:
    role = await policy.role_of(actor.user, team_id) if team_id is not None else None
    return policy.grants(role, "api_keys:manage")


async def _own(actor: Actor, key_id: str) -> asyncpg.Record:
    """One of the caller's own keys, locked. Raises NotFound for any other, and for one that is revoked."""
    row = await _locked(key_id)
    if row is None or row["user_id"] != actor.user:
        raise NotFound.of("API key")
    return row


async def _managed(actor: Actor, key_id: str) -> asyncpg.Record:
    """The same, if the caller may still manage what it is for."""
    # The membership is held before the key, as where an account is closed; a key's team never changes.
    team_id = await db.fetchval(
        "SELECT team_id FROM api_keys WHERE id = $1 AND user_id = $2", key_id, actor.user
    )
    if team_id is not None:
        await policy.require(actor, team_id, "api_keys:manage", of="API key")
    return await _own(actor, key_id)


async def _locked(key_id: str) -> asyncpg.Record | None:
    return await db.fetchrow(f"{_KEYS} WHERE k.id = $1 AND k.status = 'active' FOR UPDATE OF k", key_id)


def _key(row: asyncpg.Record) -> ApiKey:
    return db.as_struct(ApiKey, {**row, "prefix": key_text.shown(row["id"])})


def _with_secret(key: ApiKey, text: str) -> ApiKeyWithSecret:
    return ApiKeyWithSecret(**msgspec.structs.asdict(key), key=text)


def _trail(row: asyncpg.Record) -> str:
    """The team in whose trail it is."""
    team_id: str = row["team_id"] or row["personal_team_id"]
    return team_id


def _scopes(given: Collection[str]) -> list[str]:
    for place, scope in enumerate(given):
        if scope not in policy.LEAST:
            raise _invalid(f"/scopes/{place}", "unknown_scope", "There is no such permission.")
    return sorted(set(given))


def _addresses(given: Collection[str]) -> list[str]:
    """As networks: a single address is one, too."""
    networks = []
    for place, text in enumerate(given):
        try:
            networks.append(_network(text.strip()))
        except ValueError as wrong:
            said = "This is no address and no network, such as 203.0.113.0/24."
            raise _invalid(f"/addresses/{place}", "invalid_address", said) from wrong
    return sorted(set(networks))


def _network(text: str) -> str:
    """IPv4 in IPv6 is IPv4, as it is where a client comes from. Raises ValueError."""
    network = ipaddress.ip_network(text, strict=False)
    inside = network.network_address.ipv4_mapped if isinstance(network, ipaddress.IPv6Network) else None
    if inside is None or network.prefixlen < 96:
        return str(network)
    return f"{inside}/{network.prefixlen - 96}"


def _invalid(pointer: str, code: str, detail: str) -> Invalid:
    return Invalid(detail, errors=(FieldError(pointer, code, detail),))
