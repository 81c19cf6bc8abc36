"""Downloads: answers that are made while they are sent, and end with the client.

The text is asked for as fast as the client takes it. When it goes, what makes the text is told at once and
gives back what it holds. A text that breaks off ends without the end of a chunked answer, so that no client
takes a part for the whole.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final

from litestar import Request, Response
from litestar.types import ASGIApp, Receive, Scope, Send

from channels.http_stream import gone
from channels.live_http import EXTENSION, LiveHttp
from channels.request_ids import request_id
from channels.tasks import until_any
from domain import db
from domain.errors import DomainError, Invalid

log = logging.getLogger("maycole.downloads")

MEDIA: Final = {
    "csv": "text/csv; charset=utf-8; header=present",
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "html": "text/html; charset=utf-8",
}


def attachment(name: str) -> dict[str, str]:
    """Headers of what is to be kept as a file. Names are ours: letters, digits, dots and hyphens."""
    return {"Content-Disposition": f'attachment; filename="{name}"'}


def require_http(request: Request[Any, Any, Any]) -> None:
    """A stream needs a connection of its own. Raises Invalid `http_only` for a request that came by rpc."""
    if _connection(request.scope) is None:
        raise Invalid("This is a stream: ask for it over HTTP.", code="http_only")


class Download(Response[Any]):
    """A file made of `parts`; `ended` is awaited whatever becomes of it, `within_s` is all it may take."""

    def __init__(
        self,
        parts: AsyncGenerator[bytes, None],
        ended: Callable[[], Awaitable[None]],
        *,
        form: str,
        name: str,
        within_s: float,
    ) -> None:
        super().__init__(None)
        self._parts = parts
        self._ended = ended
        self._headers = {"content-type": MEDIA[form], **attachment(name)}
        self._within_s = within_s
        self._is_sent = False

    def to_asgi_response(self, *given: Any, **named: Any) -> ASGIApp:  # type: ignore[override]  # it is all we need
        return self._respond

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(self._within_s):
                await until_any(gone(receive), self._send(send))
        except (DomainError, *db.UNREACHABLE, TimeoutError) as broken:
            # A DomainError: who asked may not have the rest.
            log.warning("%s broke off: %s: %s", request_id(scope), type(broken).__name__, broken)
        finally:
            is_whole = False
            try:
                await self._ended()
                is_whole = self._is_sent
            finally:
                connection = _connection(scope)
                if not is_whole and connection is not None:
                    connection.abort()
        if is_whole:
            # Not before it is known how it ended: who has all of it is known to have it.
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send(self, send: Send) -> None:
        headers = [(name.lower().encode(), value.encode()) for name, value in self._headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        # Closed by the task that takes from it: a transaction belongs to one.
        async with aclosing(self._parts) as parts:
            async for part in parts:
                if part:
                    await send({"type": "http.response.body", "body": part, "more_body": True})
        self._is_sent = True


def _connection(scope: Any) -> LiveHttp | None:
    """What carries the answer; nothing does where it came by rpc."""
    found: LiveHttp | None = (scope.get("extensions") or {}).get(EXTENSION)
    return found
