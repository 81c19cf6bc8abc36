"""Step 1: every request has an id, which is in its answer, its problems, its audit rows and its log lines."""

import random
import re
from typing import Any, Final

from app.pipeline.headers import sent

HEADER: Final = b"x-request-id"
_SANE: Final = re.compile(rb"[A-Za-z0-9._-]{8,64}")
_random: Final = random.Random()  # noqa: S311 - it need not be secret, and asks the system only once


def request_id(scope: Any) -> str:
    """The id that the client sent, if it looks sane, or else one of ours; the same for the whole request.

    `scope` is the ASGI scope of the request (Litestar's own types differ between its hooks, hence Any).
    """
    state = scope.setdefault("state", {})
    known: str | None = state.get("request_id")
    if known is None:
        given = sent(scope, HEADER)
        if given is not None and _SANE.fullmatch(given):
            known = given.decode()
        else:
            known = f"req_{_random.getrandbits(96):024x}"
        state["request_id"] = known
    return known
