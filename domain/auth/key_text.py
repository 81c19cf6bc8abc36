"""The text of an API key: `mk_live_<id>_<secret><checksum>`.

The id is that of the key's row (26 characters), the secret 256 random bits in base 62 (43 characters), the
checksum the CRC-32 of all before it in base 62 (6 characters). So a scanner tells our keys from other text
without asking us, and a typo costs no look-up. The database keeps the SHA-256 of the whole; 256 random bits
need no slow hash.
"""

import hashlib
import re
import secrets
import string
import zlib
from typing import Final

PREFIX: Final = "mk_live_"
SECRET_CHARS: Final = 43
CHECKSUM_CHARS: Final = 6
_DIGITS: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_SHAPE: Final = re.compile(rf"{PREFIX}([0-7][0-9a-hjkmnp-tv-z]{{25}})_[0-9A-Za-z]{{43}}([0-9A-Za-z]{{6}})")


def is_one(token: str) -> bool:
    """Whether it wants to be an API key, rather than an access token."""
    return token.startswith("mk_")


def new(key_id: str) -> str:
    """A fresh key with this id, which is `key_` and the 26 characters."""
    body = f"{shown(key_id)}_{_base62(secrets.randbits(256), SECRET_CHARS)}"
    return body + _checksum(body)


def shown(key_id: str) -> str:
    """What people may see of a key with this id: how its text begins."""
    return PREFIX + key_id.removeprefix("key_")


def id_of(token: str) -> str | None:
    """The id of the key; None for what no key of ours can be, such as one with a typo in it."""
    parts = _SHAPE.fullmatch(token)
    if parts is None or parts[2] != _checksum(token[:-CHECKSUM_CHARS]):
        return None
    return f"key_{parts[1]}"


def hashed(token: str) -> str:
    """What the database keeps of it."""
    return hashlib.sha256(token.encode()).hexdigest()


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), CHECKSUM_CHARS)


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
