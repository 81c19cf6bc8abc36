"""Leases: room taken ahead, so that who asks often does not make Redis be asked each time.

Promises
  - Exact all the same. What is leased counts in Redis from the moment it is taken and may be used for LEASE_S
    after that; so Redis remembers it LEASE_S longer than the policy says, and in any `window_s` no more than
    `limit` are let in. Whatever is not used in time is lost, and so is what a process had that died: the
    limit may be a little less for who comes in bursts, and never one more.
  - Who asks rarely leases nothing, and nobody does where less than SPARE of a limit is left: the last ones
    are let in one by one, whichever process they ask.
  - Only what is counted by one policy, of LEASED_FROM at least, is leased; everything else is asked at once.

In memory: a few numbers for each caller of the last REST_S, of KEYS_MAX at most.
"""

import functools
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from app.pipeline.limiter import KEYS_MAX, Draws, Limiter, Room, Verdict
from app.pipeline.policies import Policy

LEASE_S: Final = 1
LEASED_FROM: Final = 500
AHEAD_MAX: Final = 32
AHEAD: Final = 0.5  # of what a caller is expected to ask for while a lease is good
SPARE: Final = 0.25  # of a limit
RATE_OVER_S: Final = 4.0  # a burst is not yet somebody who asks often
REST_S: Final = 20.0  # after which nothing is left of a rate


@dataclass(slots=True)
class _Caller:
    """What is known here of somebody: how often they ask, how they stand in Redis, what is leased."""

    asked_at: float
    rate: float = 0.0  # a second, over the last RATE_OVER_S or so
    room: int = 0  # what Redis said last; until it has said anything, none
    grows_at: float = 0.0
    leased: int = 0
    good_until: float = 0.0
    is_leasing: bool = False

    def asks(self, now: float, wanted: int) -> None:
        self.rate = self.rate * math.exp((self.asked_at - now) / RATE_OVER_S) + wanted / RATE_OVER_S
        self.asked_at = now

    def use(self, now: float, wanted: int) -> Verdict | None:
        """From the lease, if there is one."""
        if not self.leased or now >= self.good_until:
            return None
        granted = min(wanted, self.leased)
        self.leased -= granted
        return Verdict(granted, (self.shown(now),))

    def shown(self, now: float) -> Room:
        leased = self.leased if now < self.good_until else 0
        return Room(self.room + leased, max(0.0, self.grows_at - now))


class Leases:
    """One a process, around its limiter. `clock`: seconds, of which only differences mean anything."""

    def __init__(self, limiter: Limiter, clock: Callable[[], float] = time.monotonic) -> None:
        self._limiter = limiter
        self._clock = clock
        self._callers: OrderedDict[str, _Caller] = OrderedDict()

    async def take(self, draws: Draws, wanted: int = 1) -> Verdict:
        """As Limiter.take; with several wanted it may be fewer though there is room, but none only if not."""
        key, policy = draws[0]
        if len(draws) > 1 or policy.limit < LEASED_FROM:
            return await self._limiter.take([(each, remembered(of)) for each, of in draws], wanted)
        now = self._clock()
        caller = self._callers.get(key)
        if caller is None:
            caller = self._callers[key] = _Caller(now)
        caller.asks(now, wanted)
        return caller.use(now, wanted) or await self._ask(key, policy, caller, wanted)

    async def _ask(self, key: str, policy: Policy, caller: _Caller, wanted: int) -> Verdict:
        asked_at = caller.asked_at
        self._keep(key, asked_at)
        ahead = 0 if caller.is_leasing else self._ahead(policy, caller)
        if ahead:
            caller.is_leasing = True
        try:
            verdict = await self._limiter.take([(key, remembered(policy))], wanted + ahead)
        finally:
            if ahead:
                caller.is_leasing = False
        now = self._clock()
        room = verdict.rooms[0]
        caller.room, caller.grows_at = room.left, now + room.grows_in_s
        if ahead:
            caller.leased, caller.good_until = max(0, verdict.granted - wanted), asked_at + LEASE_S
        if not verdict.granted:  # somebody who asked meanwhile may have leased the last ones
            return caller.use(now, wanted) or verdict
        return Verdict(min(wanted, verdict.granted), (caller.shown(now),))

    def _ahead(self, policy: Policy, caller: _Caller) -> int:
        if not self._limiter.is_shared or caller.room < SPARE * policy.limit:
            return 0
        return min(AHEAD_MAX, int(caller.rate * LEASE_S * AHEAD))

    def _keep(self, key: str, now: float) -> None:
        """Forget who rests. Whoever asks comes by here once a lease, so that the first one rested longest."""
        self._callers.move_to_end(key)
        while len(self._callers) > KEYS_MAX or next(iter(self._callers.values())).asked_at < now - REST_S:
            self._callers.popitem(last=False)


@functools.lru_cache
def remembered(policy: Policy) -> Policy:
    """The policy as Redis has it: what may be leased is remembered for as long as a lease more."""
    if policy.limit < LEASED_FROM:
        return policy
    return msgspec.structs.replace(policy, window_s=policy.window_s + LEASE_S)
