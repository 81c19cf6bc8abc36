"""Live: what the endpoints need of their process, kept in `app.state.live`."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import msgspec

from channels.gate import Gate
from channels.relay import Relay


class Joined(Protocol):
    """What is known of a connection here (channels/connection.py is the whole of it)."""

    def left(self) -> None: ...


class Live(msgspec.Struct):
    """One a process. `rest` is the application itself, for rpc; `emulation` see channels/emulation.py."""

    relay: Relay
    gate: Gate
    rest: Any
    emulation: Any
    allowed_origins: Collection[str]
    connections: set[Any] = msgspec.field(default_factory=set)

    def allows(self, origin: str | None) -> bool:
        """Whether a page from this origin may connect; `null` never may, what is no browser sends none."""
        return origin is None or origin in self.allowed_origins

    @contextmanager
    def knowing(self, connection: Joined) -> Iterator[None]:
        """Count it among the connections until the block ends; then it has left."""
        self.connections.add(connection)
        try:
            yield
        finally:
            self.connections.discard(connection)
            connection.left()
