"""Encryption at rest: AES-256-GCM, the key's id in the ciphertext, its place as associated data.

A ciphertext is `<key id>.<base64url of nonce and sealed bytes>`. Its associated data is the place it is kept
at, such as `mfa_factors/<id>/secret`: moved to another row or column it does not open. The key's id is a
hash of the key, so no list of ids is kept anywhere. Source: NIST SP 800-38D (96-bit random nonces).
"""

import hashlib
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
ID_CHARS: Final = 8
_keys: dict[str, AESGCM] = {}


class Unopenable(Exception):
    """No key of ours opens this: it was sealed with a key that is gone, moved, or altered."""


class UnknownKey(Unopenable):
    """It was sealed with a key that is not installed here, or not yet."""


def install(current: bytes, *previous: bytes) -> None:
    """Seal with `current` from now on; what the previous ones sealed still opens. 32 bytes each."""
    _keys.clear()
    for key in (current, *previous):
        if len(key) != KEY_BYTES:
            raise ValueError(f"an encryption key has {KEY_BYTES} bytes")
        _keys.setdefault(key_id(key), AESGCM(key))


def key_id(key: bytes) -> str:
    """What names this key in a ciphertext; it tells nothing of the key."""
    return hashlib.sha256(b"maycole key id" + key).hexdigest()[:ID_CHARS]


def parsed(text: str) -> bytes | None:
    """A key as operators write it: 32 bytes, in hex or base64 of either alphabet; None for anything else."""
    try:
        key = bytes.fromhex(text) if len(text) == 2 * KEY_BYTES else urlsafe_b64decode(_padded(text))
    except ValueError:
        return None
    return key if len(key) == KEY_BYTES else None


def sealed(place: str, plain: bytes) -> str:
    """The ciphertext, to be kept at `place`."""
    name, key = _current()
    nonce = os.urandom(NONCE_BYTES)
    return f"{name}.{urlsafe_b64encode(nonce + key.encrypt(nonce, plain, place.encode())).decode()}"


def opened(place: str, ciphertext: str) -> bytes:
    """What was sealed at `place`. Raises Unopenable."""
    name, _, body = ciphertext.partition(".")
    key = _keys.get(name)
    if key is None:
        raise UnknownKey(f"the key {name[:ID_CHARS]} is not installed")
    try:
        raw = urlsafe_b64decode(body)
        return key.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], place.encode())
    except (InvalidTag, ValueError) as error:
        raise Unopenable(f"this was not sealed for {place}") from error


def current_prefix() -> str:
    """What every ciphertext of the key that is in use now begins with."""
    return f"{_current()[0]}."


def is_current(ciphertext: str) -> bool:
    """Whether it was sealed with the key that is in use now."""
    return ciphertext.startswith(current_prefix())


def _current() -> tuple[str, AESGCM]:
    if not _keys:
        raise RuntimeError("no encryption key is installed: call crypto.install() first")
    return next(iter(_keys.items()))


def _padded(text: str) -> str:
    return text.translate(str.maketrans("+/", "-_")).rstrip("=") + "=" * (-len(text.rstrip("=")) % 4)
