"""Idempotency keys: who sends the same request with the same key again gets the first answer again.

Owns    idempotency_keys
Rules   an answer is written in the transaction whose effect it tells of: after a crash there are both or
        neither. Of all who come with one key at once, one goes on; the others are told that it is being
        worked on. A key belongs to its caller. It is kept KEPT_FOR; what has expired counts as absent at
        once, whenever it is deleted. Answers hold tokens: they are sealed, for their caller, key and row.

Two ways, since not every verb is one transaction (app/pipeline/idempotency.py says which is which):

    whole       found(), the verb, keep()          in one transaction
    in parts    found() and claim() in one, the verb, then finish() in its last; a claim that nobody finishes
                is void after CLAIM_LASTS, and who takes it over is the only one who can finish

Source: Stripe, "Idempotent requests"; draft-ietf-httpapi-idempotency-key-header-07.
"""

import hashlib
import hmac
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import msgspec

from domain import crypto, db, ids, jobs, keys
from domain.clock import now
from domain.errors import Conflict, Invalid, Unavailable

KEPT_FOR: Final = timedelta(hours=72)
# Longer than any request may take, so that nobody takes over from somebody who is still at it.
CLAIM_LASTS: Final = timedelta(seconds=30)
AT_ONCE: Final = 1000
RETRY_AFTER_S: Final = 1
KEY_CHARS_MAX: Final = 255
_PURPOSE: Final = "idempotency"


class Asked(msgspec.Struct, frozen=True):
    """One request with a key. `fingerprints`: of the request, by each signing key, the current first."""

    caller: str
    key: str
    fingerprints: Sequence[str]


class Answer(msgspec.Struct, frozen=True):
    """How it was answered; `reached` are the positions that its changes have: `{channel: offset}`."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    reached: dict[str, int]


class _Sealed(msgspec.Struct, frozen=True, array_like=True):
    headers: list[tuple[str, str]]
    body: bytes
    reached: dict[str, int]


def fingerprints(parts: Sequence[bytes]) -> list[str]:
    """Keyed hashes of these parts: who reads the table can try no passwords against them."""
    said = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    return [hmac.new(secret, said, hashlib.sha256).hexdigest() for secret in keys.derived(_PURPOSE)]


async def found(asked: Asked) -> Answer | None:
    """The answer that there is already; None for the one who is to work it out, who alone gets that.

    In the transaction in which the work begins: until it ends nobody else gets further than here. Raises
    Conflict `idempotency_key_in_use` while somebody else is at it, or `idempotency_answer_lost`; Invalid
    `idempotency_key_reused` for another request.
    """
    connection = db.current().connection
    if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", _lock(asked)):
        raise _in_use()
    # A statement of its own: it sees what was committed until the lock was ours.
    row = await connection.fetchrow(
        """SELECT id, fingerprint, status, response FROM idempotency_keys
           WHERE caller = $1 AND key = $2 AND expires_at > $3""",
        asked.caller,
        asked.key,
        now(),
    )
    if row is None:
        return None
    if not any(hmac.compare_digest(row["fingerprint"], one) for one in asked.fingerprints):
        raise Invalid(
            "This Idempotency-Key was used for another request: choose a new one.",
            code="idempotency_key_reused",
        )
    if row["status"] is None:
        raise _in_use()
    return _opened(asked, row)


async def keep(asked: Asked, answer: Answer) -> None:
    """Write the answer down, in the transaction of its effect, after `found`."""
    await _write(asked, ids.new("idem"), answer)


async def claim(asked: Asked) -> str:
    """Whoever this is told to is at it, for CLAIM_LASTS: the id of the claim. After `found`."""
    return await _write(asked, ids.new("idem"), None)


async def finish(claimed: str, asked: Asked, answer: Answer) -> None:
    """Write the answer of a claim down, in the transaction of its effect.

    Raises Conflict `idempotency_key_in_use` where the claim has lapsed and somebody else is at it.
    """
    tag = await db.execute(
        """UPDATE idempotency_keys SET status = $2, response = $3, expires_at = $4
           WHERE id = $1 AND status IS NULL""",
        claimed,
        answer.status,
        _sealed(asked, claimed, answer),
        now() + KEPT_FOR,
    )
    if tag != "UPDATE 1":
        raise _in_use()


async def let_go(claimed: str) -> None:
    """Nothing came of a claim that is to be remembered: the next one begins anew."""
    await db.execute("DELETE FROM idempotency_keys WHERE id = $1 AND status IS NULL", claimed)


async def forget(user_id: str) -> None:
    """Drop all answers to a user and to their API keys, in the transaction that closes the account."""
    await db.execute(
        """DELETE FROM idempotency_keys
           WHERE caller = $1 OR caller IN (SELECT id FROM api_keys WHERE user_id = $1)""",
        user_id,
    )


@jobs.cron("idempotency.sweep", every=timedelta(hours=1))
async def sweep() -> None:
    """Delete what has expired, some at a time, so that nobody waits for it."""
    tag = f"DELETE {AT_ONCE}"
    while tag == f"DELETE {AT_ONCE}":
        tag = await db.execute(
            """DELETE FROM idempotency_keys WHERE expires_at <= $1 AND id IN (
                   SELECT id FROM idempotency_keys WHERE expires_at <= $1
                   ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)""",
            now(),
            AT_ONCE,
        )


async def _write(asked: Asked, row_id: str, answer: Answer | None) -> str:
    """A row, in place of one that has expired. Its lock is ours (`found`), so nobody else writes it."""
    at = now()
    await db.execute(
        """INSERT INTO idempotency_keys
               (id, caller, key, fingerprint, status, response, expires_at, created_at)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
           ON CONFLICT (caller, key) DO UPDATE
           SET id = excluded.id, fingerprint = excluded.fingerprint, created_at = excluded.created_at,
               status = excluded.status, response = excluded.response, expires_at = excluded.expires_at""",
        row_id,
        asked.caller,
        asked.key,
        asked.fingerprints[0],
        answer.status if answer else None,
        _sealed(asked, row_id, answer) if answer else None,
        at + (KEPT_FOR if answer else CLAIM_LASTS),
        at,
    )
    return row_id


def _sealed(asked: Asked, row_id: str, answer: Answer) -> str:
    kept = _Sealed(answer.headers, answer.body, answer.reached)
    return crypto.sealed(_place(asked, row_id), msgspec.msgpack.encode(kept))


def _opened(asked: Asked, row: Any) -> Answer:
    try:
        plain = crypto.opened(_place(asked, row["id"]), row["response"])
    except crypto.UnknownKey as unknown:
        raise Unavailable("Keys are being changed: try again.", code="busy", retryAfter=5) from unknown
    except crypto.Unopenable as lost:
        detail = "This was done, and its answer can be read no more."
        raise Conflict(detail, code="idempotency_answer_lost") from lost
    kept = msgspec.msgpack.decode(plain, type=_Sealed)
    return Answer(row["status"], kept.headers, kept.body, kept.reached)


def _place(asked: Asked, row_id: str) -> str:
    """What an answer is sealed for; the same in SQL is in domain/rotation.py."""
    return f"idempotency_keys/{row_id}/{asked.caller}/{asked.key}/response"


def _lock(asked: Asked) -> int:
    """An advisory lock: two keys that share one by chance (one in 2**64) only wait for each other."""
    digest = hashlib.blake2b(f"{asked.caller}\0{asked.key}".encode(), digest_size=8, person=b"idempotency")
    return int.from_bytes(digest.digest(), "big", signed=True)


def _in_use() -> Conflict:
    return Conflict(
        "A request with this Idempotency-Key is being worked on: ask again for its answer.",
        code="idempotency_key_in_use",
        retryAfter=RETRY_AFTER_S,
    )
