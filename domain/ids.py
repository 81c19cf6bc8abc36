"""Ids: TypeIDs, a prefix and a UUIDv7 in 26 base-32 characters, that sort by the time they were made.

Source: TypeID specification 0.3, RFC 9562 (UUIDv7, monotonic by method 2: the random part counts up within
one millisecond, so that ids made by one process never sort backwards).
"""

import os
import re
import threading
import time
from functools import lru_cache
from typing import Annotated, Final

from msgspec import Meta

ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
PATTERN: Final = r"^[a-z]{2,8}_[0-7][0-9a-hjkmnp-tv-z]{25}(?!\n)$"  # `$` alone lets one newline pass

Id = Annotated[str, Meta(pattern=PATTERN, max_length=40, description="A TypeID: prefix, `_`, 26 characters.")]

_SHAPE = re.compile(PATTERN)
_RANDOM_BITS = 74
AHEAD_BYTES: Final = 256
# Two characters are ten bits: of the 50 that the time has, and of the 80 behind it.
_TIME: Final = range(40, -1, -10)
_REST: Final = range(70, -1, -10)
_lock = threading.Lock()
_last_ms = 0
_last_random = 0
_ahead = b""


def new(prefix: str) -> str:
    """A fresh id such as `item_01kb3m…`; the prefix names the kind of thing."""
    ms, rest = _uuid7()
    return f"{prefix}_{_of_time(ms)}{_text(rest, _REST)}"


def is_id(prefix: str, text: str) -> bool:
    """Whether `text` has the shape of an id of this kind (it may still not exist)."""
    return text.startswith(f"{prefix}_") and _SHAPE.fullmatch(text) is not None


def _uuid7() -> tuple[int, int]:
    """Its milliseconds, and the 80 bits behind them."""
    global _last_ms, _last_random
    with _lock:
        ms = time.time_ns() // 1_000_000
        if ms > _last_ms:
            # The top bit starts at zero, which leaves room for counting up.
            _last_ms, _last_random = ms, _random(10) >> (80 - _RANDOM_BITS + 1)
        else:
            _last_random += 1 + _random(4)
        ms, random = _last_ms, _last_random
    high, low = random >> 62, random & ((1 << 62) - 1)
    return ms, 0x7 << 76 | (high & 0xFFF) << 64 | 0b10 << 62 | low


def _random(size: int) -> int:
    """So many random bytes. The system is asked for some ahead: it takes longer than the rest of an id."""
    global _ahead
    if len(_ahead) < size:
        _ahead = os.urandom(AHEAD_BYTES)
    taken, _ahead = _ahead[:size], _ahead[size:]
    return int.from_bytes(taken)


def _forget() -> None:
    """A child process makes ids of its own, not those that its parent would have made next."""
    global _ahead
    _ahead = b""


os.register_at_fork(after_in_child=_forget)
_PAIRS: Final = [high + low for high in ALPHABET for low in ALPHABET]


@lru_cache(8)
def _of_time(ms: int) -> str:
    return _text(ms, _TIME)


def _text(bits: int, shifts: range) -> str:
    return "".join([_PAIRS[bits >> shift & 1023] for shift in shifts])
