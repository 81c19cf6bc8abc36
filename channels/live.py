"""Live: what the endpoints need of their process, kept in `app.state.live`."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from channels.gate import Gate
from channels.relay import Relay

if TYPE_CHECKING:
    from channels.connection import Connection
    from channels.emulation import Emulation


class Live(msgspec.Struct):
    """One a process. `rest` is the application itself, for rpc."""

    relay: Relay
    gate: Gate
    rest: Any
    emulation: "Emulation"
    allowed_origins: Collection[str]
    connections: "set[Connection]" = msgspec.field(default_factory=set)

    def allows(self, origin: str | None) -> bool:
        """Whether a page from this origin may connect; `null` never may, what is no browser sends none."""
        return origin is None or origin in self.allowed_origins

    @contextmanager
    def knowing(self, connection: "Connection") -> Iterator[None]:
        """Count it among the connections until the block ends; then it has left."""
        self.connections.add(connection)
        try:
            yield
        finally:
            self.connections.discard(connection)
            connection.left()
