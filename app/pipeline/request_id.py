"""Step 1: every request has an id, which is in its answer, its problems, its audit rows and its log lines."""

import re
import secrets
from typing import Any, Final

HEADER: Final = b"x-request-id"
_SANE: Final = re.compile(rb"^[A-Za-z0-9._-]{8,64}$")


def request_id(scope: Any) -> str:
    """The id that the client sent, if it looks sane, or else one of ours; the same for the whole request.

    `scope` is the ASGI scope of the request (Litestar's own types differ between its hooks, hence Any).
    """
    state = scope.setdefault("state", {})
    known: str | None = state.get("request_id")
    if known is None:
        given = next((value for name, value in scope["headers"] if name == HEADER), b"")
        known = given.decode() if _SANE.match(given) else f"req_{secrets.token_hex(12)}"
        state["request_id"] = known
    return known
