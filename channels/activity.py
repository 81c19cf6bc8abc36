"""Activity: how many users there were in the last WINDOW_MIN minutes, over REST or live, in all processes.

Who was seen is noted in memory, said to Redis every SAY_EVERY_S, and counted there: a HyperLogLog for each
minute, `maycole:active:<minute>`, which keeps no names and takes 12 KiB however many there are. A user whom
several processes saw counts once; above a few hundred users the number is right to about 1 %.

While Redis is away nothing is known; what was noted is said later, as far as it is still of the window. Of
more than NOTED_MAX users of one process the rest is left out: the number is too low then, never too high.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from itertools import islice
from typing import Final

from channels.bus import TORN, Bus
from channels.bus_format import PREFIX

log = logging.getLogger("maycole.activity")

WINDOW_MIN: Final = 5
SAY_EVERY_S: Final = 5.0
NOTED_MAX: Final = 50_000
AT_ONCE: Final = 500
MINUTE_S: Final = 60


class Activity:
    """Of one process: `saw` whenever a user is seen, `count` for all. `clock`: seconds since the epoch."""

    def __init__(self, bus: Bus, clock: Callable[[], float] = time.time) -> None:
        self._redis = bus.redis
        self._clock = clock
        self._seen: set[str] = set()
        self._unsaid: dict[int, set[str]] = {}

    def saw(self, user_id: str) -> None:
        """Now, or in the last SAY_EVERY_S: of which minute is settled when it is said."""
        if len(self._seen) < NOTED_MAX:
            self._seen.add(user_id)

    async def count(self) -> int:
        """How many users there were in this minute and the WINDOW_MIN before, in all processes.

        What the others saw in the last SAY_EVERY_S may be missing. Raises what is in bus.GONE.
        """
        try:
            await self._say()
            now = self._minute
            counted: int = await self._redis.pfcount(*map(_key, range(now - WINDOW_MIN, now + 1)))
        except RuntimeError as closed:  # what a closed transport raises under uvloop
            raise ConnectionError("the link was closed while asking") from closed
        return counted

    async def run(self, connected: Collection[str]) -> None:
        """Say who was seen, until cancelled. Whoever is `connected` is active all the time."""
        said_of = None
        while True:
            if said_of != self._minute:
                said_of = self._minute
                for user_id in connected:
                    self.saw(user_id)
            try:
                await self._say()
            except TORN as lost:
                log.debug("cannot say who is active: %s", lost)  # others say loudly that Redis is away
            await asyncio.sleep(SAY_EVERY_S)

    async def _say(self) -> None:
        """Raises what is in bus.TORN; what was not said then is still noted."""
        now = self._minute
        self._keep(now, self._seen)
        self._seen = set()
        unsaid = {minute: users for minute, users in self._unsaid.items() if minute >= now - WINDOW_MIN}
        self._unsaid = {}
        try:
            for minute, users in unsaid.items():
                await self._add(_key(minute), list(users))
        except BaseException:
            for minute, users in unsaid.items():
                self._keep(minute, users)
            raise

    def _keep(self, minute: int, users: Collection[str]) -> None:
        if users:
            unsaid = self._unsaid.setdefault(minute, set())
            unsaid.update(islice(users, NOTED_MAX - len(unsaid)))

    async def _add(self, key: bytes, users: list[str]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for start in range(0, len(users), AT_ONCE):
            pipeline.pfadd(key, *users[start : start + AT_ONCE])
        pipeline.expire(key, (WINDOW_MIN + 2) * MINUTE_S)
        await pipeline.execute()

    @property
    def _minute(self) -> int:
        return int(self._clock()) // MINUTE_S


def _key(minute: int) -> bytes:
    return PREFIX + b"active:%d" % minute
