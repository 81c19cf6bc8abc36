"""The limiter: as many as a limit says and never one more, whoever asks, and whatever becomes of Redis."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
import redis.asyncio
import uvloop

from app.config import Config
from app.pipeline.limiter import PROCESSES_UNKNOWN, Limiter
from app.pipeline.policies import Policy
from channels.tasks import end
from tests.faults.faultproxy import Address, FaultProxy

ROUNDS = 20
HUNDRED = Policy(100, by="address")
FEW = Policy(3, by="user")


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """How slow this machine is today says nothing about the limiter."""
    monkeypatch.setattr("app.pipeline.limiter.WITHIN_S", 30.0)


@pytest.fixture
async def limiter(config: Config) -> AsyncIterator[Limiter]:
    assert config.redis_url is not None
    made = Limiter(config.redis_url)
    yield made
    await made.close()


def new_key() -> str:
    return f"test:{secrets.token_hex(8)}"


async def granted(limiter: Limiter, key: str, policy: Policy, asked: int) -> int:
    verdicts = await asyncio.gather(*(limiter.take([(key, policy)]) for _ in range(asked)))
    return sum(verdict.granted for verdict in verdicts)


async def test_of_400_who_ask_at_four_limiters_a_hundred_are_let_in(config: Config) -> None:
    """The same with processes of their own is `make exact`."""
    assert config.redis_url is not None
    several = [Limiter(config.redis_url) for _ in range(4)]
    for _ in range(ROUNDS):
        key = new_key()
        counts = await asyncio.gather(*(granted(each, key, HUNDRED, 100) for each in several))
        assert sum(counts) == 100, counts
    assert all(each.is_shared for each in several)
    for each in several:
        await each.close()


async def test_each_that_was_let_in_is_forgotten_a_window_later_and_no_sooner(limiter: Limiter) -> None:
    key, policy = new_key(), Policy(3, by="user", window_s=1)
    times: list[tuple[float, float]] = []
    async with asyncio.timeout(60):
        while len(times) < 9:
            before = time.monotonic()
            verdict = await limiter.take([(key, policy)])
            if verdict.granted:
                times.append((before, time.monotonic()))
            else:
                assert verdict.rooms[0].left == 0
                assert 0 < verdict.rooms[0].grows_in_s <= 1
                await asyncio.sleep(verdict.rooms[0].grows_in_s / 2)
    # Of any four that follow each other, the first and the last are a window apart.
    for (first, _), (_, fourth) in zip(times, times[3:], strict=False):
        assert fourth - first >= 1


async def test_what_several_policies_count_is_let_in_only_where_all_have_room(limiter: Limiter) -> None:
    few, many = new_key(), new_key()
    draws = [(many, HUNDRED), (few, FEW)]
    verdicts = [await limiter.take(draws) for _ in range(5)]
    assert [verdict.granted for verdict in verdicts] == [1, 1, 1, 0, 0]
    assert [room.left for room in verdicts[-1].rooms] == [97, 0]
    assert await granted(limiter, many, HUNDRED, 100) == 97


async def test_who_wants_several_gets_what_is_left(limiter: Limiter) -> None:
    key = new_key()
    assert (await limiter.take([(key, FEW)], wanted=2)).granted == 2
    assert (await limiter.take([(key, FEW)], wanted=2)).granted == 1
    assert (await limiter.take([(key, FEW)], wanted=2)).granted == 0


async def test_a_script_that_redis_has_forgotten_is_loaded_again(limiter: Limiter) -> None:
    key = new_key()
    assert await granted(limiter, key, FEW, 2) == 2
    await limiter._redis.script_flush()
    assert await granted(limiter, key, FEW, 2) == 1
    assert limiter.is_shared


async def _hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        await reader.read()
    writer.close()


@pytest.fixture(params=["refuses", "hangs"])
async def away(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """The address of a Redis that is not there, or does not answer."""
    monkeypatch.setattr("app.pipeline.limiter.WITHIN_S", 0.25)
    server = await asyncio.start_server(_hangs, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    if request.param == "refuses":
        server.close()
    yield f"redis://127.0.0.1:{port}"
    server.close()


async def test_without_redis_each_process_lets_in_its_share(away: str) -> None:
    limiter = Limiter(away)
    assert await granted(limiter, new_key(), HUNDRED, 200) == 100 // PROCESSES_UNKNOWN
    assert not limiter.is_shared
    limiter.processes = 2
    key = new_key()
    assert await granted(limiter, key, HUNDRED, 200) == 50
    # Never shut either: who may ask at all, may ask once.
    limiter.processes = 1000
    assert await granted(limiter, new_key(), HUNDRED, 200) == 1
    await limiter.close()


async def test_a_share_begins_at_what_this_process_has_let_in_already(limiter: Limiter) -> None:
    """As when the event loop was held for so long that Redis' answer came too late."""
    limiter.processes = 1
    key, other, several = new_key(), new_key(), new_key()
    assert await granted(limiter, key, HUNDRED, 70) == 70
    assert (await limiter.take([(several, HUNDRED), (other, FEW)], wanted=2)).granted == 2
    limiter.is_shared = False
    assert await granted(limiter, key, HUNDRED, 100) == 30
    assert (await limiter.take([(several, HUNDRED), (other, FEW)], wanted=2)).granted == 1
    limiter.processes = 2
    assert await granted(limiter, several, HUNDRED, 100) == 50 - 3
    room = (await limiter.take([(several, HUNDRED)])).rooms[0]
    assert (room.left, 0 < room.grows_in_s <= HUNDRED.window_s + 1) == (0, True)


async def test_what_this_process_has_let_in_is_forgotten_in_time(limiter: Limiter) -> None:
    limiter.processes = 1
    key, policy = new_key(), Policy(3, by="user", window_s=1)
    assert (await limiter.take([(key, policy)], wanted=3)).granted == 3
    limiter.is_shared = False
    limiter._refused.clear()
    began = time.monotonic()
    assert (await limiter.take([(key, policy)])).granted == 0
    async with asyncio.timeout(60):
        while not (await limiter.take([(key, policy)], wanted=3)).granted:
            await asyncio.sleep(0.05)
    assert time.monotonic() - began > policy.window_s / 2


@pytest.fixture
async def apart(config: Config) -> str:
    """Where nobody else is counted: the app of these tests is not among those who say here that they are."""
    where = f"{config.redis_url}?db=7"
    async with redis.asyncio.Redis.from_url(where) as client:
        await client.flushdb()
    return where


async def test_processes_know_how_many_they_are(apart: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Limiter(apart), Limiter(apart)
    first.is_shared = second.is_shared = False
    running = [asyncio.create_task(limiter.run()) for limiter in (first, second)]
    async with asyncio.timeout(60):
        while second.processes != 2:
            await asyncio.sleep(0.01)
    assert first.is_shared
    assert second.is_shared
    await end(running)
    await first.close()

    monkeypatch.setattr("app.pipeline.limiter.FORGOTTEN_AFTER_S", 1)
    again = asyncio.create_task(second.run())
    async with asyncio.timeout(60):
        while second.processes != 1:
            await asyncio.sleep(0.01)
    await end([again])
    await second.close()


async def test_who_has_looked_once_has_a_share_from_then_on(apart: str) -> None:
    limiters = [Limiter(apart) for _ in range(3)]
    for limiter in limiters:
        await limiter.look()
    assert [limiter.processes for limiter in limiters] == [1, 2, 3]
    await limiters[0].look()
    assert limiters[0].processes == 3
    for limiter in limiters:
        await limiter.close()


async def test_a_redis_that_comes_back_empty_makes_no_share_larger(apart: str) -> None:
    first, second = Limiter(apart), Limiter(apart)
    await first.look()
    await second.look()
    for is_noticed in (False, True):
        async with redis.asyncio.Redis.from_url(apart) as client:
            await client.flushdb()
        if is_noticed:  # and lasts longer than anybody is remembered
            second.is_shared = False
            second._heard.clear()
        await second.look()
        assert second.processes == 2
    await first.close()
    await second.close()


def test_a_link_that_redis_has_reset_makes_it_count_by_itself_and_harms_nobody(config: Config) -> None:
    """Under uvloop, where writing to such a link is a RuntimeError that redis-py does not translate."""
    assert config.redis_url is not None
    redis_at = urlsplit(config.redis_url)

    async def scenario() -> None:
        async with await FaultProxy.listen(Address(path=redis_at.path)) as link:
            for ask in (Limiter.look, lambda limiter: limiter.take([("test:reset", HUNDRED)]), Limiter.close):
                limiter = Limiter(f"redis://:{redis_at.password}@127.0.0.1:{link.port}?db=8")
                await limiter.look()
                assert limiter.is_shared
                link.reset()
                while link.links:
                    await asyncio.sleep(0.01)
                await ask(limiter)
                assert limiter.is_shared == (ask is Limiter.close)
                assert (await limiter.take([("test:reset", HUNDRED)])).granted == 1
                await limiter.look()
                assert limiter.is_shared
                await limiter.close()

    uvloop.run(scenario())


async def test_a_mistake_of_its_own_lets_nobody_wait(
    limiter: Limiter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def wrong(*given: object) -> None:
        raise ZeroDivisionError

    key = new_key()
    monkeypatch.setattr(limiter, "_answers", wrong)
    assert await granted(limiter, key, HUNDRED, 200) == HUNDRED.limit // PROCESSES_UNKNOWN
    assert "the limiter failed" in caplog.text
