"""Live: what the endpoints need of their process, kept in `app.state.live`."""

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol

import msgspec

from channels.budget import Budget
from channels.gate import Gate
from channels.protocol import HangUp
from channels.relay import Relay

# On one process. A person has a few devices with some tabs each; what opens more has lost count of them, and
# each costs some 40 KiB and its part of all that is said.
CONNECTIONS_PER_USER: Final = 100


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
    budget: Budget
    connections_per_user: int = CONNECTIONS_PER_USER
    connections: set[Any] = msgspec.field(default_factory=set)
    users: dict[Any, str] = msgspec.field(default_factory=dict)
    open_of: Counter[str] = msgspec.field(default_factory=Counter)

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
            if (user := self.users.pop(connection, None)) is not None:
                self.open_of[user] -= 1
                if not self.open_of[user]:
                    del self.open_of[user]

    def admit(self, connection: Joined, user: str) -> None:
        """Count it among this user's until it has left. Raises HangUp 3504 where they have too many."""
        if connection in self.users:
            return
        if self.open_of[user] >= self.connections_per_user:
            raise HangUp(3504)
        self.users[connection] = user
        self.open_of[user] += 1
        self.relay.activity.saw(user)
