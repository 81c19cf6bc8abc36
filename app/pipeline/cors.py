"""Which pages may read our answers (CORS): those of an exact list of origins, with their cookies.

An answer says so to a page from the list, and nothing to any other; caches are told that it depends. What
asks beforehand (a preflight) is answered without looking at the route.
"""

from collections.abc import Collection
from typing import Any, Final

from channels.headers import sent
from domain.errors import Forbidden

METHODS: Final = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
# What a page may send, beside what needs no leave.
SENT: Final = (
    "API-Version",
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "X-CSRF-Token",
    "X-Request-Id",
)
# What it may read, beside what needs no leave.
READ: Final = (
    "API-Version",
    "Content-Disposition",
    "Deprecation",
    "ETag",
    "Idempotent-Replayed",
    "Link",
    "Location",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "Sunset",
    "X-Request-Id",
    "X-Stream-Position",
)
LASTS_S: Final = 600
_VARY: Final = (b"vary", b"Origin")
_PREFLIGHT: Final = [
    (b"access-control-allow-methods", ", ".join(METHODS).encode()),
    (b"access-control-allow-headers", ", ".join(SENT).encode()),
    (b"access-control-max-age", str(LASTS_S).encode()),
]
_EXPOSED: Final = (b"access-control-expose-headers", ", ".join(READ).encode())


class Cors:
    """`origins` are exact, such as `https://app.example`; without any there is nothing to say."""

    def __init__(self, origins: Collection[str]) -> None:
        self._origins = frozenset(origin.encode() for origin in origins)

    def headers(self, scope: Any) -> list[tuple[bytes, bytes]]:
        """What an answer to this request says."""
        if not self._origins:
            return []
        origin = sent(scope, b"origin")
        if origin is None or origin not in self._origins:
            return [_VARY]
        said = [
            _VARY,
            (b"access-control-allow-origin", origin),
            (b"access-control-allow-credentials", b"true"),
        ]
        return [*said, *_PREFLIGHT] if is_preflight(scope) else [*said, _EXPOSED]

    def check(self, scope: Any) -> None:
        """For a preflight. Raises Forbidden `origin_not_allowed`."""
        if sent(scope, b"origin") not in self._origins:
            raise Forbidden("Pages from there may not ask this server.", code="origin_not_allowed")


def is_preflight(scope: Any) -> bool:
    """Whether a browser asks if a page may ask (Fetch standard, CORS-preflight request)."""
    return (
        scope["method"] == "OPTIONS"
        and bool(sent(scope, b"origin"))
        and bool(sent(scope, b"access-control-request-method"))
    )
