"""Answers in JSON, as most are: what Litestar makes of a Response, and no more than we use of it."""

from typing import Any, Final, TypeVar

import msgspec
from litestar import MediaType, Response
from litestar.response.base import ASGIResponse
from litestar.serialization import default_serializer
from litestar.types import Receive, Scope, Send

from app.pipeline import etag

T = TypeVar("T")

_encoder: Final = msgspec.json.Encoder(enc_hook=default_serializer)
_JSON: Final = (b"content-type", b"application/json")
_PLAIN: Final = (None, MediaType.JSON)


class Answer(Response[T]):
    """One thing, or a page. With cookies, another media type, work to do after it or no content it is as any
    other Response.
    """

    def to_asgi_response(
        self, app: Any, request: Any, *, status_code: int | None = None, cookies: Any = None, **given: Any
    ) -> ASGIResponse:
        special = (self.cookies, self.background, cookies, given.get("headers"))
        if self.content is None or self.media_type not in _PLAIN or any(special):
            return super().to_asgi_response(app, request, status_code=status_code, cookies=cookies, **given)
        headers = [(name.lower().encode(), value.encode()) for name, value in self.headers.items()]
        status = self.status_code or status_code or 200
        if status == 200 and "ETag" in self.headers and etag.is_known(request.scope, self.headers["ETag"]):
            return _Whole(304, headers)
        return _Whole(status, headers, _encoder.encode(self.content))


class _Whole(ASGIResponse):
    """Sent in one piece; without a body it says nothing of one (RFC 9110 section 15.4.5)."""

    __slots__ = ("_head",)

    def __init__(self, status_code: int, headers: list[tuple[bytes, bytes]], body: bytes = b"") -> None:
        self.status_code = status_code
        self.body = body
        self._head = [*headers, _JSON, (b"content-length", b"%d" % len(body))] if body else headers

    def encode_headers(self) -> list[tuple[bytes, bytes]]:
        return self._head

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self._head})
        await send({"type": "http.response.body", "body": self.body, "more_body": False})
