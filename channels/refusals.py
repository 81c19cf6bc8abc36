"""Answers that the HTTP engine makes itself, before there is a request that the application could see.

Problem documents like any other (app/pipeline/errors.py), and the connection ends with them.
"""

import secrets
from http import HTTPStatus
from typing import Final

import msgspec

# What is wrong, by status: the code, and what it says.
REFUSALS: Final = {
    400: ("malformed_request", "This is no HTTP request."),
    408: ("request_timeout", "The head of the request took too long."),
    431: ("head_too_large", "The head of the request is too large."),
    500: ("internal_error", "Something went wrong on our side."),
    503: ("busy", "This server takes no more connections now: come again."),
}
RETRY_AFTER_S: Final = 1


def refusal(status: int, request_id: str | None = None) -> bytes:
    """The whole answer, head and body; of a request that has no id yet, one of ours."""
    code, detail = REFUSALS[status]
    request_id = request_id or f"req_{secrets.token_hex(12)}"
    problem: dict[str, object] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": "",
        "success": False,
        "code": code,
        "requestId": request_id,
    }
    headers = {
        "content-type": "application/problem+json",
        "x-request-id": request_id,
        "x-content-type-options": "nosniff",
        "cache-control": "no-store",
        "connection": "close",
    }
    if status == 503:
        problem["retryAfter"] = RETRY_AFTER_S
        headers["retry-after"] = str(RETRY_AFTER_S)
    body = msgspec.json.encode(problem)
    headers["content-length"] = str(len(body))
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{lines}\r\n".encode() + body
