"""On whose behalf: the id of the request that this task works for, also later, as a job that it enqueued.

It is in every log line and in every audit row whose actor brings none of its own.
"""

from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Self

_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


def request_id() -> str | None:
    """The request's id; None for what nobody asked for."""
    return _request_id.get()


class _Working:
    __slots__ = ("_before", "_request_id")

    def __init__(self, request_id: str | None) -> None:
        self._request_id = request_id

    def __enter__(self) -> Self:
        self._before = _request_id.set(self._request_id)
        return self

    def __exit__(self, *_: object) -> None:
        _request_id.reset(self._before)


def working_for(request_id: str | None) -> AbstractContextManager[object]:
    """What happens until the block ends, tasks that it starts included, is on behalf of this request."""
    return _Working(request_id)
