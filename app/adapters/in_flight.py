"""One call for all who want the same at the same time."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from domain import deadline

T = TypeVar("T")


class InFlight(Generic[T]):
    """At most one call under way. Whoever comes meanwhile gets its result, or its failure.

    The call belongs to nobody: it goes on when those who wait for it are cancelled.
    """

    def __init__(self) -> None:
        self._call: asyncio.Task[T] | None = None

    @property
    def is_under_way(self) -> bool:
        return self._call is not None

    async def join(self, begin: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of the call under way, which is begun where there is none. Raises what it raises."""
        if self._call is None:
            with deadline.within(None):  # not that of whoever comes first
                self._call = asyncio.create_task(begin())
            self._call.add_done_callback(self._over)
        return await asyncio.shield(self._call)

    async def stop(self) -> None:
        """Cancel what is under way; who waits for it is cancelled too."""
        if self._call is not None:
            self._call.cancel()
            await asyncio.wait({self._call})

    def _over(self, call: asyncio.Task[T]) -> None:
        self._call = None
        if not call.cancelled():
            call.exception()  # they may all be gone
