"""Credentials: what a request or a connection comes with, and whom it stands for now.

An access token names a session, an API key itself. Both are asked of the database; whom a session stands for
may be remembered for a moment by those who only read (domain/memory.py): for the rest, what was revoked
authenticates nothing from that commit on. Whatever is wrong with a key is said in the same words.
"""

import hmac
import ipaddress
from collections.abc import Collection
from datetime import datetime
from typing import Final, Literal

import asyncpg
import msgspec

from domain import db, lines
from domain.actor import Actor, Limits
from domain.auth import api_keys, key_text, tokens
from domain.auth.tokens import Claims, Shown
from domain.clock import now
from domain.coalesce import Coalesced
from domain.errors import DomainError, Forbidden, Unauthenticated
from domain.memory import Memory, of_process

memory: Final = Memory["Identity"]()
of_process.append(memory)
_NONE: Final = "0" * 64  # no text has this hash


class Identity(msgspec.Struct, frozen=True):
    """Whom a credential stands for, as the database has it now.

    `credential` is the id of the session or of the key; `exp`, `limits` and `api_version` are a key's.
    """

    user_id: str
    credential: str
    personal_team_id: str
    is_staff: bool
    name: str
    limits: Limits | None = None
    exp: int = 0
    api_version: str | None = None

    def acting(self, nobody: Actor) -> Actor:
        """The caller, now known. A key has no part in what its user is to the platform."""
        return msgspec.structs.replace(
            nobody,
            user_id=self.user_id,
            session_id=self.credential if self.limits is None else None,
            key_id=self.credential if self.limits is not None else None,
            limits=self.limits,
            personal_team_id=self.personal_team_id,
            is_staff=self.is_staff and self.limits is None,
        )


def claims(token: str, ip: str | None) -> Claims:
    """What a token says that came from this address; whether it holds is for `identify` to tell.

    Of an API key it is only what can be told without asking: the user is not known yet. Raises
    Unauthenticated.
    """
    if not key_text.is_one(token):
        return tokens.verify(token)
    key_id = key_text.id_of(token)
    if key_id is None:
        raise _invalid_key()
    return Claims("", key_id, 0, Shown(key_text.hashed(token), ip))


async def introduced(token: str, nobody: Actor) -> Claims:
    """The same, with the user and the end of an API key as well. Raises as identify does."""
    said = claims(token, nobody.ip)
    if said.key is None:
        return said
    identity = await identify(said, nobody)
    return msgspec.structs.replace(said, sub=identity.user_id, exp=identity.exp)


async def recent(said: Claims, nobody: Actor) -> Identity:
    """Whom a credential stands for, or, of a session, stood for LASTS_S ago: for those who only read.

    Raises as identify does.
    """
    if said.key is not None:
        return await identify(said, nobody)
    known = await memory.recall(said.sub, said.sid, lambda: identify(said, nobody))
    assert known is not None, "identify raises where there is nobody"
    return known


async def identify(said: Claims, nobody: Actor) -> Identity:
    """Whom a credential stands for now; `nobody` is where it came from.

    Raises Unauthenticated `session_over`, `invalid_api_key`; Forbidden `address_not_allowed`.
    """
    row = await (_session if said.key is None else _key).ask(said.sid)
    if said.key is None:
        if row is None or row["user_id"] != said.sub:
            raise _over()
        return _identity(row)
    verdict = _verdict(row, said.key)
    if row is None or verdict != "good":
        if row is not None:
            await api_keys.refused(nobody, row, verdict)
        raise _refusal(verdict)
    await api_keys.used(row)
    return _identity(row)


async def require_standing(actor: Actor) -> None:
    """The session that the caller came with stands: for a change by who was let in as `recent` says.

    Raises Unauthenticated `session_over`.
    """
    if actor.session_id is not None and not await _sessions([actor.session_id]):
        raise _over()


def standing(session_ids: str, at: str) -> str:
    """The SQL that reads those of these sessions that stand at a time; both are parameters of a statement."""
    return _SESSIONS.format(which=f"= ANY({session_ids})", at=at)


async def identities(said: Collection[Claims]) -> dict[Claims, Identity]:
    """Whom these credentials stand for now, in one query; those that hold no more are absent."""
    rows = await _rows(said)
    return {
        one: _identity(row)
        for one in said
        if (row := rows.get(one.sid)) is not None
        and row["user_id"] == one.sub
        and (one.key is None or _verdict(row, one.key) == "good")
    }


# {which} says for which ids; {at} is the time.
_SESSIONS: Final = """
    SELECT s.id AS credential, u.id AS user_id, u.personal_team_id, u.is_staff, u.name,
           NULL::text AS team_id, NULL::text[] AS scopes, NULL::text[] AS addresses, NULL::text AS key,
           NULL::text AS previous_key, NULL::timestamptz AS previous_until, NULL::timestamptz AS expires_at,
           NULL::timestamptz AS last_used, NULL::text AS api_version, true AS holds
    FROM user_sessions s JOIN users u ON u.id = s.user_id
    WHERE s.id {which} AND s.revoked_at IS NULL AND s.expires_at > {at} AND u.disabled_at IS NULL"""
# What a team's key acts for is a membership: who leaves a team and joins it again makes new keys.
_KEYS: Final = """
    SELECT k.id AS credential, u.id AS user_id, u.personal_team_id, u.is_staff, u.name,
           k.team_id, k.scopes, k.addresses, k.key,
           k.previous_key, k.previous_until, k.expires_at,
           k.last_used, k.api_version,
           k.status = 'active' AND (k.expires_at IS NULL OR k.expires_at > {at}) AND u.disabled_at IS NULL
             AND (k.team_id IS NULL OR EXISTS (
                 SELECT FROM team_members m JOIN teams t ON t.id = m.team_id
                 WHERE m.team_id = k.team_id AND m.user_id = k.user_id
                   AND m.joined_at <= k.created_at AND t.deleted_at IS NULL)) AS holds
    FROM api_keys k JOIN users u ON u.id = k.user_id
    WHERE k.id {which}"""
_BOTH: Final = " UNION ALL ".join(
    (_SESSIONS.format(which="= ANY($2)", at="$1"), _KEYS.format(which="= ANY($3)", at="$1"))
)


Rows = dict[str, asyncpg.Record]  # by the id of the session or key


async def _sessions(session_ids: Collection[str]) -> Rows:
    """Those that hold."""
    return _by_id(await db.fetch(_SESSIONS.format(which="= ANY($2)", at="$1"), now(), list(session_ids)))


async def _keys(key_ids: Collection[str]) -> Rows:
    """All of them, whether or not they hold."""
    return _by_id(await db.fetch(_KEYS.format(which="= ANY($2)", at="$1"), now(), list(key_ids)))


async def _rows(said: Collection[Claims]) -> Rows:
    session_ids = [one.sid for one in said if one.key is None]
    key_ids = [one.sid for one in said if one.key is not None]
    if session_ids and key_ids:
        return _by_id(await db.fetch(_BOTH, now(), session_ids, key_ids))
    # Postgres keeps no plan for both, and planning is the most of it: measured, 0.4 of 0.6 ms.
    return await _keys(key_ids) if key_ids else await _sessions(session_ids)


def _by_id(rows: Collection[asyncpg.Record]) -> Rows:
    return {row["credential"]: row for row in rows}


_session: Final = Coalesced(_sessions)
_key: Final = Coalesced(_keys)
lines.of_process.extend((_session.waiting_s, _key.waiting_s))


def _identity(row: asyncpg.Record) -> Identity:
    limits = Limits(frozenset(row["scopes"]), row["team_id"]) if row["scopes"] is not None else None
    return Identity(
        user_id=row["user_id"],
        credential=row["credential"],
        personal_team_id=row["personal_team_id"],
        is_staff=row["is_staff"],
        name=row["name"],
        limits=limits,
        exp=int(row["expires_at"].timestamp()) if row["expires_at"] else 0,
        api_version=row["api_version"],
    )


def _verdict(
    row: asyncpg.Record | None, shown: Shown
) -> Literal["good", "wrong_secret", "over", "address_not_allowed"]:
    """What is to be said of a key that was shown; the secret first: the rest is its holder's."""
    is_current = hmac.compare_digest(shown.hash, row["key"] if row else _NONE)
    is_previous = hmac.compare_digest(shown.hash, (row["previous_key"] if row else None) or _NONE)
    if row is None or not (is_current or (is_previous and _is_ahead(row["previous_until"]))):
        return "wrong_secret"
    if not row["holds"]:
        return "over"
    return "good" if _may_come_from(shown.ip, row["addresses"]) else "address_not_allowed"


def _is_ahead(at: datetime | None) -> bool:
    return at is not None and at > now()


def _may_come_from(ip: str | None, networks: Collection[str]) -> bool:
    """Whether an address is in one of the networks; without any, all are. IPv4 in IPv6 counts as IPv4."""
    if not networks:
        return True
    try:
        address = ipaddress.ip_address(ip or "")
    except ValueError:
        return False  # a socket without one, such as a Unix socket
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in ipaddress.ip_network(network) for network in networks)


def _refusal(verdict: str) -> DomainError:
    if verdict == "address_not_allowed":
        return Forbidden("This API key is not for use from this address.", code="address_not_allowed")
    return _invalid_key()


def _over() -> Unauthenticated:
    return Unauthenticated("This session is over: sign in again.", code="session_over")


def _invalid_key() -> Unauthenticated:
    return Unauthenticated("This is not a valid API key.", code="invalid_api_key")
