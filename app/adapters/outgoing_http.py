"""What goes wrong with HTTP, for clients that are httpx2's: which of it is the vendor's failure."""

from typing import Final

import httpx2

from app.adapters.retrying import Failure, of_status

# Nothing was sent. (A full pool of ours counts as the vendor's failure: it is full of what is not answered.)
_NEVER_SENT: Final = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
_OURS: Final = (httpx2.LocalProtocolError, httpx2.UnsupportedProtocol)


def judge(error: Exception) -> Failure | None:
    """Timeouts, broken connections, answers that end too early, and statuses that stand for failures."""
    if isinstance(error, httpx2.HTTPStatusError):
        return of_status(error.response.status_code, error.response.headers.get("retry-after"))
    if isinstance(error, httpx2.TransportError | TimeoutError) and not isinstance(error, _OURS):
        return Failure(what=type(error).__name__, undone=isinstance(error, _NEVER_SENT))
    return None


def raise_for_failure(answer: httpx2.Response) -> httpx2.Response:
    """The answer, unless its status stands for a failure of the vendor: raises HTTPStatusError."""
    if of_status(answer.status_code) is not None:
        answer.raise_for_status()
    return answer
