"""The watchman: every ROUND_EVERY_S, asks of all open sockets at once if credential and rights still hold.

News of a change is heard at once (channels/connection.py). This is the hard bound for all that is no news: an
account that was disabled, a session that expired, an entry that went astray.
"""

import asyncio
import logging
from collections.abc import Collection
from typing import Final

from channels.connection import Connection
from channels.gate import Gate
from domain import db

log = logging.getLogger("maycole.watchman")

ROUND_EVERY_S: Final = 25.0


class Watchman:
    """Walks the open connections of this process, in two queries a round however many there are."""

    def __init__(self, connections: Collection[Connection], gate: Gate) -> None:
        self._connections = connections
        self._gate = gate

    async def run(self) -> None:
        """Make rounds until cancelled."""
        while True:
            await asyncio.sleep(ROUND_EVERY_S)
            try:
                await self.make_round()
            except db.UNREACHABLE as error:
                log.warning("cannot check open sockets: %s: %s", type(error).__name__, error)

    async def make_round(self) -> None:
        known = {connection: connection.standing.claims for connection in self._connections}
        rights = await self._gate.rights_of({claims for claims in known.values() if claims is not None})
        for connection, claims in known.items():
            if claims is None or connection.gone or connection.standing.claims is not claims:
                continue  # it went, or came with another token, while we asked
            if claims not in rights:
                connection.hang_up(3500)
            else:
                connection.check(rights[claims])
