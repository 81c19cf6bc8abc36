"""Last step: what every answer carries, also those that no handler made."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from litestar.types import Message, Scope

from app.pipeline import deprecation, limits, positions, versions
from app.pipeline.cors import Cors
from channels.always import FRAMES, NO_STORE, always
from channels.request_ids import HEADER, request_id

# An answer begins with one of them; the second is a refusal of a websocket's handshake.
_STARTS: Final = ("http.response.start", "websocket.http.response.start")
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
    given = always(is_secure=is_secure)

    async def stamp(message: Message, scope: Scope) -> None:
        if message["type"] not in _STARTS:
            return
        present = dict(message["headers"])  # their names are in lower case (ASGI)
        headers: list[tuple[bytes, bytes]] = [
            *message["headers"],
            (HEADER, request_id(scope).encode()),
            *given,
            *cors.headers(scope),
            *limits.headers(scope),
        ]
        if scope["path"].startswith("/api/"):
            headers.append((versions.HEADER, versions.chosen(scope).encode()))
            headers += deprecation.headers(scope)
        if b"cache-control" not in present:
            headers.append(NO_STORE)
        if b"content-security-policy" not in present:
            is_page = present.get(b"content-type", b"").startswith(b"text/html")
            headers.append(_PAGE if is_page else FRAMES)
        # A refusal may leave an audit row (a wrong password does); where is not for the one who was refused.
        reached: Any = positions.header(scope) if message["status"] < 400 else None
        if reached is not None:
            headers.append((positions.HEADER, reached))
        message["headers"] = headers

    return stamp
