"""On whose behalf: the id of the request that this task works for, also later, as a job that it enqueued.

It is in every log line and in every audit row whose actor brings none of its own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


def request_id() -> str | None:
    """The request's id; None for what nobody asked for."""
    return _request_id.get()


@contextmanager
def working_for(request_id: str | None) -> Iterator[None]:
    """What happens until the block ends, tasks that it starts included, is on behalf of this request."""
    token = _request_id.set(request_id)
    try:
        yield
    finally:
        _request_id.reset(token)
