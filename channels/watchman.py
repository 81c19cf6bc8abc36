"""The watchman: every ROUND_EVERY_S, asks of all open sockets at once whether session and rights still hold.

News of a change is heard at once (channels/connection.py). This is the hard bound for all that is no news: an
account that was disabled, a session that expired, an entry that went astray.
"""

import asyncio
import logging
from collections.abc import Collection
from typing import Final

from channels.connection import Connection
from domain import db
from domain.auth import service as auth
from domain.teams import policy

log = logging.getLogger("maycole.watchman")

ROUND_EVERY_S: Final = 25.0


class Watchman:
    """Walks the open connections of this process, in two queries a round however many there are."""

    def __init__(self, connections: Collection[Connection]) -> None:
        self._connections = connections

    async def run(self) -> None:
        """Make rounds until cancelled."""
        while True:
            await asyncio.sleep(ROUND_EVERY_S)
            try:
                await self.make_round()
            except db.UNREACHABLE as error:
                log.warning("cannot check open sockets: %s: %s", type(error).__name__, error)

    async def make_round(self) -> None:
        known = {connection: connection.identity for connection in self._connections if connection.identity}
        over = await auth.over(sorted({identity.session_id for identity in known.values()}))
        roles = await policy.roles_of(sorted({identity.user_id for identity in known.values()}))
        for connection, identity in known.items():
            if connection.gone or connection.identity is not identity:
                continue  # it went, or failed to connect, while we asked
            if identity.session_id in over:
                connection.hang_up(3500)
            else:
                connection.check(roles[identity.user_id])
