"""Keyset pages: a list, and a signed cursor to what follows it.

A cursor holds the sort key of the last row. It is signed, and bound to who asked and to the filter, so that
it opens nothing else; there are no offsets, so pages stay right while rows arrive.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from domain import keys
from domain.errors import Invalid

T = TypeVar("T")

LIMIT_DEFAULT = 20
LIMIT_MAX = 100
_MAC_BYTES = 16


class Page(msgspec.Struct, Generic[T], frozen=True):
    """Up to `limit` things in order; `next_cursor` is None on the last page."""

    items: list[T]
    next_cursor: str | None = None


def cut(rows: Sequence[T], limit: int, *, scope: str, key: Callable[[T], Sequence[Any]]) -> Page[T]:
    """A page out of up to `limit + 1` rows: the extra one only tells that there is more."""
    items = list(rows[:limit])
    more = len(rows) > limit
    return Page(items, seal(key(items[-1]), scope=scope) if more else None)


def seal(values: Sequence[Any], *, scope: str) -> str:
    """The cursor for a row with these sort values, good only for the same `scope` (caller, route, filter)."""
    body = msgspec.json.encode(list(values))
    return _text(_mac(keys.derived("cursor")[0], scope, body) + body)


def unseal(cursor: str, *, scope: str) -> list[Any]:
    """The sort values in a cursor. Raises Invalid for one that is altered or belongs to another list."""
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except ValueError:
        raw = b""
    mac, body = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
    # Base64 has several spellings of the same bytes; a cursor has one.
    if cursor != _text(raw) or not any(
        hmac.compare_digest(mac, _mac(key, scope, body)) for key in keys.derived("cursor")
    ):
        raise Invalid("This cursor belongs to another list.", code="invalid_cursor")
    values: list[Any] = msgspec.json.decode(body)
    return values


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _mac(key: bytes, scope: str, body: bytes) -> bytes:
    return hmac.new(key, scope.encode() + b"\0" + body, hashlib.sha256).digest()[:_MAC_BYTES]
