"""Answers that the HTTP engine makes itself, before there is a request that the application could see.

Problem documents like any other (app/pipeline/errors.py), and the connection ends with them. Each is counted
and has its line in the log, under the id that it says: as the requests have that the application sees
(app/pipeline/seen.py), but without a duration, since nobody knows when it began.
"""

import logging
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import msgspec

from channels import always
from channels.request_ids import HEADER, known_as
from domain import measures
from domain.actor import source

log = logging.getLogger("maycole.requests")

RETRY_AFTER_S: Final = 1


class Refusal(NamedTuple):
    """What is said. `headers` are those of this refusal alone."""

    status: int
    detail: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


_VERSION: Final = (b"sec-websocket-version", b"13")
# By the code of the problem. RFC 6455 section 4.4: an answer to a handshake names the version that would do.
REFUSALS: Final = {
    "malformed_request": Refusal(400, "This is no HTTP request."),
    "malformed_handshake": Refusal(400, "This is no opening handshake of a websocket.", (_VERSION,)),
    "request_timeout": Refusal(408, "The head of the request took too long."),
    "upgrade_required": Refusal(
        426,
        "Websockets are spoken here in version 13 of their protocol.",
        ((b"upgrade", b"websocket"), (b"connection", b"upgrade"), _VERSION),
    ),
    "head_too_large": Refusal(431, "The head of the request is too large, or what is sent around its body."),
    "internal_error": Refusal(500, "Something went wrong on our side."),
    "busy": Refusal(
        503,
        "This server takes no more connections now: come again.",
        ((b"retry-after", b"%d" % RETRY_AFTER_S),),
    ),
}


class Asked(NamedTuple):
    """As much as is known of what was asked for."""

    method: str = "OTHER"
    route: str = "unmatched"
    request_id: bytes | None = None  # as the client sent it


UNKNOWN: Final = Asked()


def refused(code: str, app: Any, client: tuple[str, int] | None, asked: Asked = UNKNOWN) -> bytes:
    """The answer to what the application never sees; counted, and told to the log."""
    request_id = known_as(asked.request_id)
    measures.count("problems", code)
    fields = {
        "request_id": request_id,
        "method": asked.method,
        "route": asked.route,
        "status": REFUSALS[code].status,
        "code": code,
    }
    if client is not None:
        fields["client"] = source(client[0])
    log.info("request", extra={"fields": fields})
    return refusal(code, app, request_id)


def refusal(code: str, app: Any, request_id: str) -> bytes:
    """The whole answer, head and body, in the place of this application's."""
    status, detail, more = REFUSALS[code]
    phrase = HTTPStatus(status).phrase
    problem: dict[str, object] = {
        "type": "about:blank",
        "title": phrase,
        "status": status,
        "detail": detail,
        "instance": "",
        "success": False,
        "code": code,
        "requestId": request_id,
    }
    if status == 503:
        problem["retryAfter"] = RETRY_AFTER_S
    body = msgspec.json.encode(problem)
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", b"%d" % len(body)),
        (HEADER, request_id.encode()),
        *always.of_problems(app),
        *more,
        (b"connection", b"close"),
    ]
    lines = b"".join(b"%b: %b\r\n" % header for header in headers)
    return b"HTTP/1.1 %d %b\r\n%b\r\n%b" % (status, phrase.encode(), lines, body)
