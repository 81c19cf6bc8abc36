"""The key that signs the roots of audit trails: Ed25519, one for the installation, its private half sealed.

Whoever can write to the database cannot sign: the private half opens with ENCRYPTION_KEY only, and a key that
is not ours is told by that (it does not open, or does not match). Source: RFC 8032.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from domain import crypto, db, ids
from domain.clock import now


class SigningKey(msgspec.Struct, frozen=True):
    """A key pair: `public` are 32 bytes that anybody may have."""

    id: str
    public: bytes
    private: Ed25519PrivateKey

    def sign(self, text: bytes) -> bytes:
        """64 bytes."""
        return self.private.sign(text)


def is_signed(public: bytes, signature: bytes, text: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, text)
    except (InvalidSignature, ValueError):
        return False
    return True


async def current() -> SigningKey:
    """The key to sign with, made on first use; in a transaction. Raises crypto.Unopenable."""
    await db.execute("SELECT pg_advisory_xact_lock(hashtext('audit signing key'))")
    row = await db.fetchrow("SELECT * FROM audit_keys ORDER BY id DESC LIMIT 1")
    return opened(row) if row is not None else await _make()


def opened(row: Mapping[str, Any]) -> SigningKey:
    """A row of audit_keys. Raises crypto.Unopenable for one that is not ours."""
    private = Ed25519PrivateKey.from_private_bytes(crypto.opened(_place(row["id"]), row["secret"]))
    if private.public_key().public_bytes_raw() != row["public"]:
        raise crypto.Unopenable(f"the halves of the key {row['id']} do not belong together")
    return SigningKey(row["id"], row["public"], private)


async def _make() -> SigningKey:
    key = Ed25519PrivateKey.generate()
    made = SigningKey(ids.new("akey"), key.public_key().public_bytes_raw(), key)
    await db.execute(
        "INSERT INTO audit_keys (id, public, secret, created_at) VALUES ($1, $2, $3, $4)",
        made.id,
        made.public,
        crypto.sealed(_place(made.id), key.private_bytes_raw()),
        now(),
    )
    return made


def _place(key_id: str) -> str:
    return f"audit_keys/{key_id}/secret"
