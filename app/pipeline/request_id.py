"""Step 1: every request has an id, which is in its answer, its problems, its audit rows and its log lines."""

from typing import Any

from app.pipeline.headers import sent
from channels.request_ids import HEADER, known_as

__all__ = ["HEADER", "request_id"]


def request_id(scope: Any) -> str:
    """The id that the client sent, if it looks sane, or else one of ours; the same for the whole request.

    `scope` is the ASGI scope of the request (Litestar's own types differ between its hooks, hence Any).
    """
    state = scope.setdefault("state", {})
    known: str | None = state.get("request_id")
    if known is None:
        known = known_as(sent(scope, HEADER))
        state["request_id"] = known
    return known
