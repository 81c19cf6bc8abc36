"""Outgoing calls: the one way in which vendors are called, whoever they are and whatever client does it.

Each is a Dependency: a deadline for the call and for each try, tries again with full jitter within a budget
(retrying.py), and a circuit breaker (breaker.py). One Outgoing holds all those of a process: it says how they
fare, and tells `on_change` whenever a breaker's state does.

    s3 = outgoing.dependency("s3", POLICY, _failure)
    found = await s3.call(lambda: client.get_object(…), repeatable=True)
"""

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime
from typing import Final, Literal, TypeVar

import msgspec

from app.adapters.breaker import Breaker
from app.adapters.retrying import Budget, Failure, Policy
from domain import deadline, measures
from domain.clock import now
from domain.errors import Unavailable
from domain.health import State

T = TypeVar("T")
Judge = Callable[[Exception], Failure | None]
# What became of a call, or of a try: refused by the breaker without a try, over with the deadline (the
# vendor's or the caller's), an answer that is none we can use, or given up by whoever wanted it.
Outcome = Literal["ok", "failed", "deadline", "refused", "rejected", "given_up"]
log = logging.getLogger("maycole.outgoing")

RETRY_AFTER_MIN_S: Final = 1


class Nature(msgspec.Struct, frozen=True):
    """Time and chance. Tests, which cannot wait, have others."""

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = random.random


class Counts(msgspec.Struct):
    """Since the process began. `calls` are what features wanted, `tries` what was sent."""

    calls: int = 0
    tries: int = 0
    failures: int = 0
    retries: int = 0
    refused: int = 0  # by the breaker, without a try


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How a dependency fares: `newest` tries, of which `newest_failed`, are what the breaker looks at."""

    name: str
    state: State
    since: datetime
    newest: int
    newest_failed: int
    counts: Counts

    @property
    def ok(self) -> bool:
        return self.state == "closed"

    @property
    def detail(self) -> str:
        """For people."""
        if self.state == "open":
            return f"left alone since {self.since:%H:%M:%S} UTC: {self.newest_failed} of {self.newest} failed"
        if self.state == "half_open":
            return f"tried carefully since {self.since:%H:%M:%S} UTC"
        return f"called; {self.newest_failed} of the newest {self.newest} failed"


class LeftAlone(Unavailable):
    """Not even tried: it fails too often just now."""


class Dependency:
    """A vendor, or one of its services, as this process knows it.

    `judge` says what an exception of its client means: a Failure of the vendor, or None for an answer (also a
    refusal) or a bug of ours.
    """

    def __init__(
        self,
        name: str,
        policy: Policy,
        judge: Judge,
        nature: "Nature",
        on_change: Callable[["Dependency", State], None],
    ) -> None:
        self.name, self.policy, self.judge = name, policy, judge
        self.counts = Counts()
        self._nature = nature
        self._since = now()
        self._on_change = on_change
        self.breaker = Breaker(nature.clock, self._changed)
        self._budget = Budget(nature.clock)

    async def call(self, do: Callable[[], Awaitable[T]], *, repeatable: bool) -> T:
        """What `do` answers, which is awaited once for each try.

        `repeatable`: doing it twice is as good as once, because it changes nothing, or has a key by which the
        vendor knows it again. What is not is tried again only where nothing was done for certain.
        Raises what the last try raised (TimeoutError included), and LeftAlone where there was none.
        """
        self.counts.calls += 1
        self._budget.call()
        with self._counted("outgoing_calls"):
            return await self._call(do, repeatable)

    def retry_after_s(self, error: Exception) -> int:
        """What to tell the caller who is refused because of this: whole seconds, at least one."""
        failure = self.judge(error)
        after_s = (failure.after_s if failure is not None else None) or 0.0
        return max(RETRY_AFTER_MIN_S, math.ceil(max(after_s, self.breaker.opens_in_s)))

    @property
    def standing(self) -> Standing:
        return Standing(
            name=self.name,
            state=self.breaker.state,
            since=self._since,
            newest=self.breaker.calls,
            newest_failed=self.breaker.failures,
            counts=msgspec.structs.replace(self.counts),
        )

    @property
    def slug(self) -> str:
        """The name as a part of codes."""
        return self.name.replace(".", "_")

    async def _call(self, do: Callable[[], Awaitable[T]], repeatable: bool) -> T:
        ends = self._nature.clock() + self.policy.within_s
        for turn in range(1, self.policy.tries + 1):
            try:
                with self._counted("outgoing_retries") if turn > 1 else nullcontext():
                    return await self._try(do, ends - self._nature.clock())
            except LeftAlone:
                raise
            except Exception as error:  # whatever the vendor's client raises; `judge` knows which is what
                failure = self.judge(error)
                if failure is None or turn == self.policy.tries:
                    raise
                wait_s = self._wait_s(failure, turn, repeatable, ends - self._nature.clock())
                if wait_s is None:
                    raise
            await self._nature.sleep(wait_s)
            self.counts.retries += 1
        raise AssertionError("a policy has at least one try")

    async def _try(self, do: Callable[[], Awaitable[T]], left_s: float) -> T:
        """One try, which ends in time, and whose outcome the breaker hears however it ends."""
        place = self.breaker.admit()
        if place is None:
            self.counts.refused += 1
            raise self._left_alone()
        own_s = min(self.policy.try_within_s, left_s)
        callers_s = deadline.left_s()
        cut = callers_s is not None and callers_s < own_s
        self.counts.tries += 1
        well: bool | None = None
        began = self._nature.clock()
        try:
            async with asyncio.timeout(callers_s if cut else own_s):
                answer = await do()
            well = True
        except Exception as error:
            hurried = cut and isinstance(error, TimeoutError)  # it was not given its time
            well = None if hurried else self.judge(error) is None
            raise
        finally:
            # Cancelled: whoever wanted it is gone, which is not the vendor's doing.
            measures.took("outgoing_try", self._nature.clock() - began, self.name)
            self.counts.failures += well is False
            self.breaker.done(place, well)
        return answer

    def _wait_s(self, failure: Failure, retry: int, repeatable: bool, left_s: float) -> float | None:
        """How long to wait before trying again; None to give up.

        At once where the wait would outlast the deadline, our own or that of whoever asked.
        """
        if not failure.again or not (repeatable or failure.undone):
            return None
        wait_s = self.policy.wait_before(retry, failure.after_s, self._nature.chance())
        callers_s = deadline.left_s()
        if wait_s >= (left_s if callers_s is None else min(left_s, callers_s)):
            return None
        return wait_s if self._budget.retry() else None

    @contextmanager
    def _counted(self, name: str) -> Iterator[None]:
        """Count what is done in the block, by what becomes of it."""
        outcome: Outcome = "given_up"
        try:
            yield
            outcome = "ok"
        except Exception as error:
            outcome = self._outcome(error)
            raise
        finally:
            measures.count(name, self.name, outcome)

    def _outcome(self, error: Exception) -> Outcome:
        if isinstance(error, LeftAlone):
            return "refused"
        if isinstance(error, TimeoutError):
            return "deadline"
        return "rejected" if self.judge(error) is None else "failed"

    def _left_alone(self) -> LeftAlone:
        return LeftAlone(
            f"{self.name} fails too often just now, and is left alone for a while.",
            code=f"{self.slug}_unavailable",
            retryAfter=max(RETRY_AFTER_MIN_S, math.ceil(self.breaker.opens_in_s)),
        )

    def _changed(self, before: State) -> None:
        self._since = now()
        self._on_change(self, before)


class Outgoing:
    """All dependencies of this process, by name."""

    def __init__(self, nature: Nature = Nature()) -> None:  # noqa: B008 - it is frozen
        self._nature = nature
        self._known: dict[str, Dependency] = {}
        self.on_change: Callable[[Standing, State], None] = lambda standing, before: None

    def dependency(self, name: str, policy: Policy, judge: Judge) -> Dependency:
        """A dependency that begins anew; it takes the place of one with that name, whose client is gone."""
        self._known[name] = Dependency(name, policy, judge, self._nature, self._changed)
        return self._known[name]

    def standings(self) -> Sequence[Standing]:
        """How each fares, by name: for health and metrics."""
        return [self._known[name].standing for name in sorted(self._known)]

    def _changed(self, dependency: Dependency, before: State) -> None:
        standing = dependency.standing
        log.warning(
            "%s: %s, was %s; %d of the newest %d tries failed",
            standing.name,
            standing.state,
            before,
            standing.newest_failed,
            standing.newest,
        )
        self.on_change(standing, before)
