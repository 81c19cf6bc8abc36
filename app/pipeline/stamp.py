"""Last step: what every answer carries, also those that no handler made."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from litestar.types import Message, Scope

from app.pipeline import deprecation, limits, positions, versions
from app.pipeline.cors import Cors
from app.pipeline.request_id import HEADER, request_id

_ALWAYS: Final = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-site"),
]
# For browsers that came over TLS: a year. Names below ours may be somebody else's, and are left alone.
_HSTS: Final = (b"strict-transport-security", b"max-age=31536000")
_NO_STORE: Final = (b"cache-control", b"no-store")
_FRAMES: Final = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
# Swagger UI sets style attributes; scripts and data come from here only, so that the page asks nobody else.
_PAGE: Final = (
    b"content-security-policy",
    b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    b"connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
)


def stamping(cors: Cors, *, is_secure: bool) -> Callable[[Message, Scope], Awaitable[None]]:
    """A before_send hook: adds the request id, stream positions, the version, CORS and security headers.

    `is_secure`: people reach us over TLS.
    """
    always = [*_ALWAYS, _HSTS] if is_secure else _ALWAYS

    async def stamp(message: Message, scope: Scope) -> None:
        if message["type"] != "http.response.start":
            return
        present = dict(message["headers"])  # their names are in lower case (ASGI)
        headers: list[tuple[bytes, bytes]] = [
            *message["headers"],
            (HEADER, request_id(scope).encode()),
            *always,
            *cors.headers(scope),
            *limits.headers(scope),
        ]
        if scope["path"].startswith("/api/"):
            headers.append((versions.HEADER, versions.chosen(scope).encode()))
            headers += deprecation.headers(scope)
        if b"cache-control" not in present:
            headers.append(_NO_STORE)
        if b"content-security-policy" not in present:
            is_page = present.get(b"content-type", b"").startswith(b"text/html")
            headers.append(_PAGE if is_page else _FRAMES)
        # A refusal may leave an audit row (a wrong password does); where is not for the one who was refused.
        reached: Any = positions.header(scope) if message["status"] < 400 else None
        if reached is not None:
            headers.append((positions.HEADER, reached))
        message["headers"] = headers

    return stamp
