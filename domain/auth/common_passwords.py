"""Common passwords: a Bloom filter of those of ten characters and more that many people have had.

The file beside this one holds 112,625 of them, normalised, at one false alarm in 100,000; `make passwords`
writes it anew (tests/common_passwords.py says what from). It is read once, when first asked.
"""

import hashlib
import math
import struct
import unicodedata
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

FILE: Final = Path(__file__).with_name("common_passwords.bloom")
FALSE_ALARMS: Final = 1e-5
_HEADER: Final = struct.Struct(">8sHHIQ")  # what it is, version, hashes a word, words, bits
_WHAT: Final = b"mc-bloom"


class Filter(msgspec.Struct, frozen=True):
    """Says of a word in it that it is in it, always; and, rarely, of another one."""

    hashes: int
    words: int
    size_bits: int
    bits: bytes

    def __contains__(self, word: str) -> bool:
        return all(self.bits[place >> 3] >> (place & 7) & 1 for place in _places(self, word))


def contains(password: str) -> bool:
    """Whether this is a common password, whatever the case of its letters."""
    return normal(password) in shipped()


def normal(password: str) -> str:
    """What two passwords have in common that nobody would call different."""
    return unicodedata.normalize("NFKC", password).casefold().strip()


@cache
def shipped() -> Filter:
    return read(FILE.read_bytes())


def made(words: Collection[str]) -> Filter:
    """A filter of these words, large enough for FALSE_ALARMS."""
    size = math.ceil(-len(words) * math.log(FALSE_ALARMS) / math.log(2) ** 2 / 8) * 8
    bits = bytearray(size // 8)
    empty = Filter(round(size / len(words) * math.log(2)), len(words), size, b"")
    for word in words:
        for place in _places(empty, word):
            bits[place >> 3] |= 1 << (place & 7)
    return msgspec.structs.replace(empty, bits=bytes(bits))


def written(made_of: Filter) -> bytes:
    """The filter as a file."""
    return _HEADER.pack(_WHAT, 1, made_of.hashes, made_of.words, made_of.size_bits) + made_of.bits


def read(data: bytes) -> Filter:
    """The filter in a file. Raises ValueError for a file that is not one, or is cut."""
    what, version, hashes, words, size = _HEADER.unpack_from(data)
    bits = data[_HEADER.size :]
    if (what, version, len(bits) * 8) != (_WHAT, 1, size):
        raise ValueError("this is not a list of common passwords")
    return Filter(hashes, words, size, bits)


def _places(sizes: Filter, word: str) -> list[int]:
    """Two hashes make all the others (Kirsch and Mitzenmacher, 2006)."""
    first, step = struct.unpack(">QQ", hashlib.blake2b(word.encode(), digest_size=16).digest())
    return [(first + nth * (step | 1)) % sizes.size_bits for nth in range(sizes.hashes)]
