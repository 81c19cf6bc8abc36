"""The signing keys: the secret the operator gave us, the one before it, and what is derived from them.

Installed once by the shell at start (domain code reads no environment). The current key signs; both verify,
so a rotation fails nobody.
"""

import hashlib
import hmac
from functools import cache

BYTES_MIN = 32
_secrets: tuple[bytes, ...] = ()


def install(current: str, previous: str | None = None) -> None:
    """Use these from now on. Both are at least BYTES_MIN long (RFC 7518 section 3.2 for HS256)."""
    global _secrets
    secrets = (current.encode(),) + ((previous.encode(),) if previous else ())
    if any(len(secret) < BYTES_MIN for secret in secrets):
        raise ValueError(f"a signing key has at least {BYTES_MIN} bytes")
    _secrets = secrets
    derived.cache_clear()


def signing() -> tuple[bytes, ...]:
    """The raw secrets, current first: what access tokens are signed and verified with."""
    if not _secrets:
        raise RuntimeError("no signing key is installed: call keys.install() first")
    return _secrets


@cache
def derived(purpose: str) -> tuple[bytes, ...]:
    """One 32-byte key per purpose and secret, current first, so that no key serves two purposes."""
    return tuple(hmac.new(secret, purpose.encode(), hashlib.sha256).digest() for secret in signing())
