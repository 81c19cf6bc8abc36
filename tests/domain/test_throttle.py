"""Counters of failures: exact, all or none, and forgetting in time."""

import asyncio
from datetime import datetime, timedelta

import pytest

from domain import db
from domain.auth import throttle
from domain.auth.throttle import ACCOUNT, ADDRESS, EVERYWHERE, FACTORS, Key, Rule
from domain.clock import now
from domain.errors import RateLimited
from domain.ids import new

pytestmark = pytest.mark.usefixtures("url")


class Clock:
    def __init__(self) -> None:
        self.present = now()

    def __call__(self) -> datetime:
        return self.present


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    stands = Clock()
    monkeypatch.setattr(throttle, "now", stands)
    return stands


def key(rule: Rule, *, own: bool = False) -> Key:
    return throttle.of("test", new("evt"), rule, own=own)


async def failures(counted: Key) -> int | None:
    found: int | None = await db.fetchval(
        "SELECT failures FROM sign_in_failures WHERE key = $1", counted.name
    )
    return found


async def allowed(*counted: Key) -> bool:
    try:
        await throttle.check(counted)
    except RateLimited:
        return False
    return True


@pytest.mark.parametrize("rule", [ACCOUNT, ADDRESS, EVERYWHERE])
async def test_of_many_at_once_exactly_the_free_ones_pass(rule: Rule) -> None:
    counted = key(rule)
    passed = await asyncio.gather(*(allowed(counted) for _ in range(rule.free + 20)))
    assert sum(passed) == rule.free
    assert await failures(counted) == rule.free


async def test_twenty_that_fail_at_once_count_twenty() -> None:
    counted = key(ADDRESS)
    await asyncio.gather(*(throttle.check([counted]) for _ in range(20)))
    assert await failures(counted) == 20


async def test_where_one_has_to_wait_nothing_is_counted_for_the_others() -> None:
    full, other = key(ACCOUNT), key(ADDRESS)
    for _ in range(ACCOUNT.free):
        await throttle.check([full])
    await asyncio.gather(*(allowed(full, other) for _ in range(10)))
    assert await failures(other) is None, "and no counter is made that was not there"


async def test_it_is_said_which_one_has_to_wait() -> None:
    own, shared = key(ACCOUNT, own=True), key(ADDRESS)
    for _ in range(ACCOUNT.free):
        await throttle.check([shared, own])
    with pytest.raises(throttle.TooMany) as refusal:
        await throttle.check([shared, own])
    assert (refusal.value.key, refusal.value.details) == (own, {"retryAfter": 1})


async def test_in_a_transaction_they_try_one_after_another_and_what_is_rolled_back_is_not_tried() -> None:
    counted = key(FACTORS, own=True)
    tried = []

    async def tries(*, fails: bool) -> None:
        async with db.transaction():
            await throttle.check([counted])
            tried.append("begins")
            await asyncio.sleep(0)  # whoever else might come in between
            tried.append("ends")
            if fails:
                raise ZeroDivisionError

    broken = await asyncio.gather(*(tries(fails=True) for _ in range(20)), return_exceptions=True)
    assert [type(error) for error in broken] == [ZeroDivisionError] * 20
    assert await failures(counted) is None
    await asyncio.gather(*(tries(fails=False) for _ in range(FACTORS.free)))
    assert tried == ["begins", "ends"] * (20 + FACTORS.free)
    with pytest.raises(RateLimited):
        await tries(fails=False)
    assert await failures(counted) == FACTORS.free


async def test_keys_in_any_order_wait_for_each_other_and_never_in_a_circle() -> None:
    one, two = key(EVERYWHERE), key(EVERYWHERE)
    orders = ([one, two], [two, one])
    await asyncio.gather(*(throttle.check(orders[nth % 2]) for nth in range(60)))
    assert await failures(one) == await failures(two) == 60


async def test_success_forgets_its_own_and_takes_back_the_rest() -> None:
    own, shared = key(ACCOUNT, own=True), key(ADDRESS)
    for _ in range(3):
        await throttle.check([own, shared])
    await throttle.cleared([own, shared])
    assert (await failures(own), await failures(shared)) == (None, 2)
    await throttle.untried([shared])
    await throttle.untried([shared])
    await throttle.untried([shared])
    assert await failures(shared) == 0, "never below nought"


async def test_failures_are_forgotten_one_by_one_also_by_whoever_goes_on_failing(clock: Clock) -> None:
    counted = key(ACCOUNT)
    for _ in range(5):
        await throttle.check([counted])
    # Three in two such times: two are forgotten, three are added. What is left of a time is not lost.
    for _ in range(6):
        clock.present += timedelta(seconds=ACCOUNT.forgets_one_in_s * 2 / 3)
        await throttle.check([counted])
    assert await failures(counted) == 5 + 6 - 4
    clock.present += timedelta(seconds=ACCOUNT.forgets_one_in_s * 20)
    await throttle.check([counted])
    assert await failures(counted) == 1


async def test_however_long_somebody_goes_on_they_are_forgiven_within_a_day(clock: Clock) -> None:
    for rule in (ACCOUNT, ADDRESS, EVERYWHERE, FACTORS):
        counted = key(rule)
        await db.execute(
            "INSERT INTO sign_in_failures (key, failures, last_at) VALUES ($1, $2, $3)",
            counted.name,
            rule.most,
            clock.present - timedelta(seconds=rule.cap_s),
        )
        assert await allowed(counted)
        assert (await failures(counted) or 0) <= rule.most, "no more than that is ever remembered"
        assert rule.most * rule.forgets_one_in_s <= throttle.FORGOTTEN_AFTER.total_seconds()


@pytest.mark.parametrize(
    ("address", "stands_for"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("no address", "nowhere"),
        ("", "nowhere"),
        (None, "nowhere"),
    ],
)
def test_an_address_stands_for_one_customer(address: str | None, stands_for: str) -> None:
    assert throttle.network(address) == stands_for
