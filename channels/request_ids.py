"""What a request is known as: the id that its client sent, if it looks sane, or else one of ours.

It is in its answer, its problems, its audit rows and its log lines. What looks like a secret of ours is not
sane: it would be masked wherever it is written down, and the request could not be found by it.
"""

import random
import re
from typing import Any, Final

from channels.headers import sent
from domain import secret_shapes

HEADER: Final = b"x-request-id"
_SANE: Final = re.compile(rb"[A-Za-z0-9._-]{8,64}")
_SECRET: Final = re.compile(secret_shapes.OURS.encode())
_random: Final = random.Random()  # noqa: S311 - it need not be secret, and asks the system only once


def request_id(scope: Any) -> str:
    """The id of a request, or of what opened a connection; the same as long as its scope is.

    `scope` is the ASGI scope (Litestar's own types differ between its hooks, hence Any).
    """
    state = scope.setdefault("state", {})
    known: str | None = state.get("request_id")
    if known is None:
        known = known_as(sent(scope, HEADER))
        state["request_id"] = known
    return known


def known_as(given: bytes | None) -> str:
    """The id, of what was sent as X-Request-Id; None where nothing was."""
    if given is not None and _SANE.fullmatch(given) and not _SECRET.search(given):
        return given.decode()
    return f"req_{_random.getrandbits(96):024x}"
