"""Leases: Redis is asked less often, and what is let in stays within the limit, to the last one."""

import asyncio
import random
import secrets
import selectors
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from app.config import Config
from app.pipeline import leases as module
from app.pipeline.leases import AHEAD_MAX, LEASE_S, LEASED_FROM, REST_S, Leases, remembered
from app.pipeline.limiter import Draws, Limiter, Room, Verdict
from app.pipeline.policies import POLICIES, Policy

FIVE_HUNDRED = Policy(500, by="user")
KEY = "teams:ann"
IN_TEN_S = Policy(500, by="user", window_s=10)  # a minute is the same, and takes longer to simulate
SEEDS = range(6)
PROCESSES = 4
SIMULATED_S = 30.0
SLOWEST_S = 0.49  # to Redis, and back: the limiter waits a second at most


class Skipping(asyncio.SelectorEventLoop):
    """A loop whose clock does not wait: where nothing is to be done, it is at once when something is."""

    def __init__(self) -> None:
        self.now = 0.0
        selector = selectors.DefaultSelector()
        look = selector.select

        def select(timeout: float | None = None) -> Any:
            self.now += timeout or 0.0
            return look(0)

        selector.select = select  # type: ignore[method-assign]  # only time is left out
        super().__init__(selector)

    def time(self) -> float:
        return self.now


class Exact:
    """Stands in for Limiter: a list of times for each key, and questions that take a while."""

    def __init__(self, clock: Callable[[], float], slow: Callable[[], float] | None = None) -> None:
        self.times: dict[str, deque[float]] = {}
        self.asked: list[int] = []  # how many were wanted, question by question
        self.is_shared = True
        self._clock = clock
        self._slow = slow

    async def take(self, draws: Draws, wanted: int = 1) -> Verdict:
        [(key, policy)] = draws
        self.asked.append(wanted)
        await self._wait()
        now, times = self._clock(), self.times.setdefault(key, deque())
        while times and times[0] + policy.window_s <= now:
            times.popleft()
        granted = min(wanted, policy.limit - len(times))
        times.extend([now] * granted)
        room = Room(policy.limit - len(times), (times[0] if times else now) + policy.window_s - now)
        await self._wait()
        return Verdict(granted, (room,))

    async def _wait(self) -> None:
        await asyncio.sleep(self._slow() if self._slow else 0.0)


class Clock:
    """Stands still, or goes where it is told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def around(limiter: object, clock: Callable[[], float]) -> Leases:
    return Leases(limiter, clock)  # type: ignore[arg-type]


def simulated(work: Callable[[Skipping], Awaitable[None]]) -> None:
    loop = Skipping()
    try:
        loop.run_until_complete(asyncio.wait_for(work(loop), 10 * SIMULATED_S))
    finally:
        loop.close()


def crowd(seed: int, used: list[float], questions: list[int]) -> Callable[[Skipping], Awaitable[None]]:
    """Processes that ask for one key, each at rates that change; some die and others come in their place."""
    chance = random.Random(seed)  # noqa: S311 - a simulation

    async def work(loop: Skipping) -> None:
        exact = Exact(loop.time, lambda: chance.choice((0.001, 0.01, chance.uniform(0, SLOWEST_S))))

        async def ask(leases: Leases) -> None:
            verdict = await leases.take([(KEY, IN_TEN_S)], chance.choice((1, 1, 1, 5)))
            assert verdict.rooms[0].left >= 0
            assert verdict.rooms[0].grows_in_s >= 0
            used.extend([loop.time()] * verdict.granted)

        async def process() -> None:
            leases, asking = around(exact, loop.time), set()
            while loop.time() < SIMULATED_S:
                rate, until = chance.choice((0.5, 5.0, 20.0, 60.0)), loop.time() + chance.uniform(1, 5)
                while loop.time() < until:
                    asking.add(asyncio.create_task(ask(leases)))
                    await asyncio.sleep(chance.expovariate(rate))
                if chance.random() < 0.2:
                    leases = around(exact, loop.time)
            await asyncio.gather(*asking)

        await asyncio.gather(*(process() for _ in range(PROCESSES)))
        questions.extend(exact.asked)

    return work


def most_within(window_s: float, used: list[float]) -> int:
    """The most of `used` in any half-open window of that length."""
    times, window, most = sorted(used), deque[float](), 0
    for at in times:
        window.append(at)
        while window[0] <= at - window_s:
            window.popleft()
        most = max(most, len(window))
    return most


@pytest.mark.parametrize("seed", SEEDS)
def test_in_any_window_what_is_used_is_within_the_limit_and_not_far_below_it(seed: int) -> None:
    used: list[float] = []
    questions: list[int] = []
    simulated(crowd(seed, used, questions))
    most = most_within(IN_TEN_S.window_s, used)
    assert 0.9 * IN_TEN_S.limit <= most <= IN_TEN_S.limit
    assert max(questions) > 5, "nothing was leased: nothing was shown"


def test_that_it_is_within_the_limit_is_because_redis_remembers_a_lease_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The test above sees it where it does not."""
    monkeypatch.setattr(module, "remembered", lambda policy: policy)
    used: list[float] = []
    simulated(crowd(SEEDS[0], used, []))
    assert most_within(IN_TEN_S.window_s, used) > IN_TEN_S.limit


async def test_of_2000_who_ask_four_processes_500_are_let_in(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By Redis itself. No lease ends in this: how slow the machine is says nothing about them."""
    monkeypatch.setattr("app.pipeline.limiter.WITHIN_S", 30.0)
    assert config.redis_url is not None
    limiters = [Limiter(config.redis_url) for _ in range(PROCESSES)]
    several, key = [Leases(each, Clock()) for each in limiters], f"test:{secrets.token_hex(8)}"

    async def some(leases: Leases) -> int:
        verdicts = [await leases.take([(key, FIVE_HUNDRED)]) for _ in range(125)]
        return sum(verdict.granted for verdict in verdicts)

    counts = await asyncio.gather(*(some(each) for each in several for _ in range(4)))
    for each in limiters:
        await each.close()
    assert sum(counts) == FIVE_HUNDRED.limit, counts
    assert all(each.is_shared for each in limiters)


async def test_one_process_is_refused_at_the_limit_and_what_is_left_is_told_on_the_way() -> None:
    clock = Clock()
    exact = Exact(clock)
    leases = around(exact, clock)
    for number in range(FIVE_HUNDRED.limit):
        verdict = await leases.take([(KEY, FIVE_HUNDRED)])
        assert (verdict.granted, verdict.rooms[0].left) == (1, FIVE_HUNDRED.limit - 1 - number)
        clock.now += 0.01
    refused = await leases.take([(KEY, FIVE_HUNDRED)])
    assert (refused.granted, refused.rooms[0].left) == (0, 0)
    assert refused.rooms[0].grows_in_s == pytest.approx(61 - 5)
    # The first ones and the last quarter one by one, those between by the dozen.
    assert FIVE_HUNDRED.limit // 4 < len(exact.asked) < FIVE_HUNDRED.limit // 2
    assert exact.asked[-100:] == [1] * 100
    assert max(exact.asked) <= 1 + AHEAD_MAX


@pytest.mark.parametrize("every_s", [0.7, 1.0, 7.0])
async def test_who_asks_rarely_leases_nothing(every_s: float) -> None:
    clock = Clock()
    exact = Exact(clock)
    leases = around(exact, clock)
    for _ in range(50):
        assert (await leases.take([(KEY, FIVE_HUNDRED)])).granted == 1
        clock.now += every_s
    assert exact.asked == [1] * 50


async def often(leases: Leases, clock: Clock, times: int) -> None:
    for _ in range(times):
        assert (await leases.take([(KEY, FIVE_HUNDRED)])).granted == 1
        clock.now += 0.01


async def until_leased(leases: Leases, clock: Clock, exact: Exact) -> None:
    """Until something is in hand."""
    while not exact.asked or exact.asked[-1] == 1:
        await often(leases, clock, 1)


async def test_what_is_leased_and_not_used_within_a_second_is_not_used_at_all() -> None:
    clock = Clock()
    exact = Exact(clock)
    leases = around(exact, clock)
    await until_leased(leases, clock, exact)
    asked = len(exact.asked)
    clock.now += LEASE_S
    await often(leases, clock, 1)
    assert len(exact.asked) == asked + 1


async def test_what_is_leased_is_good_from_before_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that was long on its way: Redis forgets by when it was given."""
    clock = Clock()
    exact = Exact(clock)
    leases = around(exact, clock)
    await often(leases, clock, 100)
    clock.now += LEASE_S

    async def wait() -> None:
        clock.now += 0.4

    with monkeypatch.context() as slow:
        slow.setattr(exact, "_wait", wait)
        await often(leases, clock, 1)
    asked = len(exact.asked)
    assert exact.asked[-1] > 1
    clock.now += 0.2
    await often(leases, clock, 1)
    assert len(exact.asked) == asked + 1


async def test_who_finds_nothing_while_a_lease_is_asked_for_asks_for_one() -> None:
    clock = Clock()
    exact = Exact(clock)
    leases = around(exact, clock)
    await often(leases, clock, 100)
    clock.now += LEASE_S  # what was left of it
    exact.asked.clear()
    verdicts = await asyncio.gather(*(leases.take([(KEY, FIVE_HUNDRED)]) for _ in range(20)))
    assert all(verdict.granted == 1 for verdict in verdicts)
    assert Counter(exact.asked)[1] == 19
    assert max(exact.asked) > 1
    # One that is hung up on does not keep the next ones from leasing.
    clock.now += LEASE_S
    hung_up = asyncio.create_task(leases.take([(KEY, FIVE_HUNDRED)]))
    await asyncio.sleep(0)
    hung_up.cancel()
    await asyncio.wait({hung_up})
    exact.asked.clear()
    await often(leases, clock, 1)
    assert exact.asked[0] > 1


async def test_without_redis_nothing_is_leased_and_what_is_in_hand_is_used_up() -> None:
    clock = Clock()
    exact = Exact(clock)
    leases = around(exact, clock)
    await until_leased(leases, clock, exact)
    exact.is_shared = False
    in_hand, asked = exact.asked[-1] - 1, len(exact.asked)
    await often(leases, clock, in_hand)
    assert len(exact.asked) == asked
    await often(leases, clock, 100)
    assert exact.asked[asked:] == [1] * 100


async def test_what_is_not_leased_is_asked_as_it_is() -> None:
    few = Policy(LEASED_FROM - 1, by="user")
    clock = Clock()
    exact = Exact(clock)
    leases = around(exact, clock)
    for _ in range(100):
        await leases.take([(KEY, few)])
    assert exact.asked == [1] * 100
    assert remembered(few) == few
    leased = {name for name, policy in POLICIES.items() if remembered(policy) != policy}
    assert leased == {"authenticated", "teams"}


async def test_a_policy_is_remembered_as_long_where_it_is_one_of_several(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else the question for both would forget what may still be used."""
    seen: list[Draws] = []
    clock = Clock()
    exact = Exact(clock)

    async def take(draws: Draws, wanted: int = 1) -> Verdict:
        seen.append(draws)
        return Verdict(wanted, tuple(Room(1, 1.0) for _ in draws))

    monkeypatch.setattr(exact, "take", take)
    await around(exact, clock).take([("teams:ann", POLICIES["teams"]), ("new:ann", POLICIES["create_team"])])
    longer = msgspec.structs.replace(POLICIES["teams"], window_s=61)
    assert seen == [[("teams:ann", longer), ("new:ann", POLICIES["create_team"])]]


async def test_who_rests_is_forgotten_and_no_more_are_known_than_may_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "KEYS_MAX", 50)
    clock = Clock()
    leases = around(Exact(clock), clock)
    for number in range(200):
        await leases.take([(f"teams:{number}", FIVE_HUNDRED)])
        assert len(leases._callers) <= 50
    clock.now += REST_S + 1
    await leases.take([(KEY, FIVE_HUNDRED)])
    assert list(leases._callers) == [KEY]
