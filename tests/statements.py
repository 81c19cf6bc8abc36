"""What requests ask of the database, statement by statement: work, counted instead of timed."""

from types import TracebackType
from typing import Any, Self

from app.pipeline import positions
from domain import db


class Statements:
    """Listens on every connection of the app of this process, as long as the block lasts."""

    def __init__(self) -> None:
        self.of_requests: list[str] = []
        self._connections: list[Any] = []

    async def __aenter__(self) -> Self:
        assert db.engine.pool is not None
        for holder in db.engine.pool._holders:
            if holder._con is not None and not holder._con.is_closed():
                holder._con.add_query_logger(self._heard)
                self._connections.append(holder._con)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self._connections:
            if not connection.is_closed():
                connection.remove_query_logger(self._heard)

    def _heard(self, query: Any) -> None:
        # The worker and the relay are at it meanwhile: what comes from within a request is its work.
        # So does asyncpg, when a connection meets a type for the first time.
        own = any(words in query.query for words in ("set_config('jit'", "typeinfo_tree"))
        if positions._reached.get() is not None and not own:
            self.of_requests.append(" ".join(query.query.split()))
