"""The herald: tells the staff, on `system:health`, what this process finds out about its dependencies.

It goes through the log, so that nobody misses it who follows, and workers are heard as well. While Postgres
is away the newest word about each dependency waits; it never keeps a call waiting.
"""

import asyncio
import logging
import os
import socket
from typing import Final

from app.adapters.outgoing import Outgoing, Standing
from domain import db, health
from domain.health import DependencyState, State

log = logging.getLogger("maycole.herald")

TRY_AGAIN_AFTER_S: Final = 1.0


class Herald:
    """One a process; `run` it."""

    def __init__(self, outgoing: Outgoing) -> None:
        self._process = f"{socket.gethostname()}:{os.getpid()}"
        self._waiting: dict[str, DependencyState] = {}
        self._bell = asyncio.Event()
        outgoing.on_change = self._heard

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._bell.wait()
            self._bell.clear()
            while self._waiting:
                name, state = next(iter(self._waiting.items()))
                try:
                    await health.say(state)
                except db.UNREACHABLE as error:
                    log.warning("cannot tell the staff now: %s", error or type(error).__name__)
                    await asyncio.sleep(TRY_AGAIN_AFTER_S)
                    continue
                if self._waiting.get(name) is state:
                    del self._waiting[name]

    def _heard(self, standing: Standing, before: State) -> None:
        self._waiting[standing.name] = DependencyState(
            process=self._process,
            dependency=standing.name,
            state=standing.state,
            before=before,
            since=standing.since,
            calls=standing.newest,
            failures=standing.newest_failed,
        )
        self._bell.set()
