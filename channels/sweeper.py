"""The sweeper: finds what a crash left unannounced, and says it again.

A process may die between COMMIT and its announcement. So one sweeper is awake per cluster (an advisory lock,
held on a connection of its own), and says every SWEEP_EVERY_S where each channel stands that got an entry
lately. Whoever has seen as much ignores it; whoever has not reads the gap. It steps down when it cannot
speak, so that another one can.
"""

import asyncio
import logging
from typing import Final

import asyncpg

from channels.bus import Bus
from domain import db, streams

log = logging.getLogger("maycole.sweeper")

LOCK_KEY: Final = 0x4D617977  # "Mayw"
SWEEP_EVERY_S: Final = 1.0
# Longer than a commit can take (lock and statement timeouts) and than the clocks of two machines may differ.
LOOKS_BACK_S: Final = 30.0
TRY_AGAIN_AFTER_S: Final = 1.0
LET_GO_AFTER_S: Final = 10
_TRY_LOCK: Final = "SELECT CASE WHEN $1 THEN pg_try_advisory_lock($2) ELSE false END"


class Sweeper:
    """One candidate per process."""

    def __init__(self, database_url: str, bus: Bus) -> None:
        self._database_url = database_url
        self._bus = bus

    async def run(self) -> None:
        """Sweep whenever it is our turn, until cancelled."""
        while True:
            try:
                await self._take_turn()
            except db.UNREACHABLE as error:
                log.warning("the sweeper lost its database connection: %s", error)
            await asyncio.sleep(TRY_AGAIN_AFTER_S)

    async def _take_turn(self) -> None:
        connection = await asyncpg.connect(
            self._database_url,
            timeout=db.CONNECT_WITHIN_S,
            command_timeout=db.COMMAND_WITHIN_S,
            # A holder that is cut off must not keep the lock for as long as TCP believes in it.
            server_settings={"idle_session_timeout": f"{LET_GO_AFTER_S}s"},
        )
        try:
            while not await connection.fetchval(_TRY_LOCK, self._bus.speaking, LOCK_KEY):
                await asyncio.sleep(TRY_AGAIN_AFTER_S)
            said: dict[str, tuple[str, int]] = {}
            dropped = self._bus.dropped
            while self._bus.speaking:
                if self._bus.dropped != dropped:
                    # Something was not said after all; it may have been ours.
                    said, dropped = {}, self._bus.dropped
                # The lock lives as long as this connection: ask it, so that a lost one is noticed.
                await connection.fetchval("SELECT 1")
                said = await self._sweep(said)
                await asyncio.sleep(SWEEP_EVERY_S)
        finally:
            connection.terminate()

    async def _sweep(self, said: dict[str, tuple[str, int]]) -> dict[str, tuple[str, int]]:
        """Say what was not said before; returns what is young enough to be remembered."""
        heads = await streams.recent_heads(LOOKS_BACK_S)
        fresh = [head for head in heads if said.get(head.channel) != (head.epoch, head.offset)]
        if fresh:
            self._bus.announce_heads(fresh)
        return {head.channel: (head.epoch, head.offset) for head in heads}
