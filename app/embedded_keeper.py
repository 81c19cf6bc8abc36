"""What becomes of an embedded server that ends by itself while `maycole up` runs.

Without Postgres nothing goes on, so its end is the end of all. Without Redis all goes on, so it is started
again, after a wait that doubles each time; unless it does not stay, however often that is tried.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from app.embedded import Embedded
from app.embedded_place import EmbeddedError

LOOK_EVERY_S: Final = 0.5
WAIT_S: Final = 0.5
WAIT_MAX_S: Final = 10.0
TRIES_MAX: Final = 10
STAYS_S: Final = 60.0  # whoever has run for so long is well again


class Keeper:
    """Looks after these servers."""

    def __init__(
        self, servers: Embedded, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._servers = servers
        self._say = say
        self._clock = clock
        self._tries = 0
        self._tried_at = float("-inf")
        self._due_at: float | None = None  # to start Redis again
        self._ending = ""

    async def run(self) -> str:
        """Until one is gone for good: which, how it ended and what it said last."""
        while not (gone := await self._look()):
            await asyncio.sleep(LOOK_EVERY_S)
        return gone

    async def _look(self) -> str | None:
        now = self._clock()
        postgres, redis = self._servers.postgres, self._servers.redis
        if postgres is not None and (ending := postgres.ending()):
            return ending
        if redis is None or redis.is_running():
            return None
        self._ending = redis.ending() or self._ending
        if self._due_at is None:
            if now - self._tried_at > STAYS_S:
                self._tries = 0
            if self._tries == TRIES_MAX:
                return f"{self._ending}\nredis was started {TRIES_MAX} times again and does not stay"
            self._due_at = now + min(WAIT_MAX_S, WAIT_S * 2**self._tries)
            self._say(f"{self._ending.partition(':')[0]}: it is started again")
        elif now >= self._due_at:
            self._due_at, self._tries = None, self._tries + 1
            try:
                await asyncio.to_thread(self._servers.start_again, redis)
            except (EmbeddedError, OSError) as failed:
                self._ending = str(failed)
            self._tried_at = self._clock()
        return None
