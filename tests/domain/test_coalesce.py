"""Coalesced: few queries for many, and nobody is answered with something older than their question."""

import asyncio
from collections.abc import Collection, Mapping

import pytest

from domain import coalesce
from domain.coalesce import AT_ONCE_MAX, QUERIES_MAX, STUCK_MAX, Coalesced


class Shelf:
    """What is asked of; each query waits until the test lets it go on."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.values: dict[str, int] = {}
        self.error: Exception | None = None
        self._may_go_on = asyncio.Semaphore(0)

    async def fetch(self, keys: Collection[str]) -> Mapping[str, int]:
        self.asked.append(list(keys))
        found = {key: self.values[key] for key in keys if key in self.values}
        await self._may_go_on.acquire()
        if self.error is not None:
            raise self.error
        return found

    def let_go_on(self, queries: int = 1) -> None:
        for _ in range(queries):
            self._may_go_on.release()


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def coalesced(shelf: Shelf) -> Coalesced[str, int]:
    return Coalesced(shelf.fetch)


async def _asked(coalesced: Coalesced[str, int], *keys: str) -> list[asyncio.Task[int | None]]:
    """Tasks that have asked, and wait."""

    async def ask(key: str) -> int | None:
        return await coalesced.ask(key)

    asking = [asyncio.create_task(ask(key)) for key in keys]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return asking


async def test_all_who_ask_in_one_turn_cost_one_query(shelf: Shelf, coalesced: Coalesced[str, int]) -> None:
    shelf.values = {"a": 1, "b": 2}
    asking = await _asked(coalesced, "a", "b", "a", "absent", "a")
    shelf.let_go_on(5)
    assert await asyncio.gather(*asking) == [1, 2, 1, None, 1]
    assert shelf.asked == [["a", "b", "absent"]], "and no query that asks for nothing"


async def test_nobody_is_answered_with_something_older_than_their_question(
    shelf: Shelf, coalesced: Coalesced[str, int]
) -> None:
    shelf.values = {"a": 1}
    [early] = await _asked(coalesced, "a")
    shelf.values = {"a": 2}
    [late] = await _asked(coalesced, "a")
    shelf.let_go_on(2)
    assert (await early, await late) == (1, 2)


async def test_who_asks_while_all_queries_are_under_way_waits_together_for_the_next(
    shelf: Shelf, coalesced: Coalesced[str, int]
) -> None:
    shelf.values = {"a": 1}
    first = [task for _ in range(QUERIES_MAX) for task in await _asked(coalesced, "a")]
    second = [task for _ in range(50) for task in await _asked(coalesced, "a")]
    assert len(shelf.asked) == QUERIES_MAX
    shelf.let_go_on(50)
    assert set(await asyncio.gather(*first, *second)) == {1}
    assert len(shelf.asked) == QUERIES_MAX + 1


async def test_an_error_is_for_those_who_asked_and_the_next_ask_anew(
    shelf: Shelf, coalesced: Coalesced[str, int]
) -> None:
    shelf.values, shelf.error = {"a": 1}, ConnectionError("the database is away")
    asking = await _asked(coalesced, "a", "b")
    shelf.let_go_on(1)
    outcomes = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ConnectionError, ConnectionError]
    shelf.error = None
    [again] = await _asked(coalesced, "a")
    shelf.let_go_on(1)
    assert await again == 1


async def test_one_who_goes_away_takes_the_answer_from_nobody(
    shelf: Shelf, coalesced: Coalesced[str, int]
) -> None:
    shelf.values = {"a": 1}
    gone, stays = await _asked(coalesced, "a", "a")
    gone.cancel()
    shelf.let_go_on(1)
    assert await stays == 1
    assert (await asyncio.gather(gone, return_exceptions=True))[0].__class__ is asyncio.CancelledError


async def test_an_error_that_nobody_waits_for_any_more_is_no_trouble(
    shelf: Shelf, coalesced: Coalesced[str, int]
) -> None:
    shelf.error = ConnectionError("the database is away")
    [gone] = await _asked(coalesced, "a")
    gone.cancel()
    shelf.let_go_on(1)
    await asyncio.gather(gone, return_exceptions=True)
    shelf.values, shelf.error = {"a": 1}, None
    [again] = await _asked(coalesced, "a")
    shelf.let_go_on(1)
    assert await again == 1


async def test_more_keys_than_one_query_takes_are_asked_for_in_several(
    shelf: Shelf, coalesced: Coalesced[str, int]
) -> None:
    shelf.values = {str(number): number for number in range(AT_ONCE_MAX + 10)}
    asking = await _asked(coalesced, *shelf.values)
    shelf.let_go_on(3)
    assert await asyncio.gather(*asking) == list(shelf.values.values())
    assert sum(map(len, shelf.asked)) == AT_ONCE_MAX + 10
    assert max(map(len, shelf.asked)) == AT_ONCE_MAX


async def _until_asked(shelf: Shelf, queries: int) -> None:
    async with asyncio.timeout(10):
        while len(shelf.asked) < queries:
            await asyncio.sleep(0.001)


async def test_queries_that_take_long_hold_up_nobody_else(
    shelf: Shelf, coalesced: Coalesced[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coalesce, "STUCK_AFTER_S", 0.05)
    shelf.values = {"a": 1}
    asking = [task for _ in range(QUERIES_MAX) for task in await _asked(coalesced, "a")]
    asking += await _asked(coalesced, "a")
    assert len(shelf.asked) == QUERIES_MAX, "as long as they do not take long"
    await _until_asked(shelf, QUERIES_MAX + 1)
    shelf.let_go_on(QUERIES_MAX + 1)
    assert set(await asyncio.gather(*asking)) == {1}


async def test_nor_do_they_take_all_connections(
    shelf: Shelf, coalesced: Coalesced[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coalesce, "STUCK_AFTER_S", 0.0)
    shelf.values = {"a": 1}
    asking = []
    for queries in range(1, QUERIES_MAX + STUCK_MAX + 1):
        asking += await _asked(coalesced, "a")
        await _until_asked(shelf, queries)
    asking += await _asked(coalesced, "a")
    await asyncio.sleep(0.02)
    assert len(shelf.asked) == QUERIES_MAX + STUCK_MAX
    shelf.let_go_on(len(asking))
    assert set(await asyncio.gather(*asking)) == {1}


async def test_for_how_long_the_oldest_question_waits_is_known_until_it_is_answered(
    shelf: Shelf, coalesced: Coalesced[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    passed_s = 0.0
    monkeypatch.setattr(coalesce.time, "monotonic", lambda: 100.0 + passed_s)
    shelf.values = {"a": 1}
    assert coalesced.waiting_s() == 0.0
    asking = await _asked(coalesced, "a")
    for _ in range(3):
        passed_s += 1.0
        asking += await _asked(coalesced, "a")
    assert coalesced.waiting_s() == 3.0, "the query of the first is under way"
    shelf.let_go_on(1)
    assert await asking[0] == 1
    await asyncio.sleep(0)
    assert coalesced.waiting_s() == 2.0
    shelf.let_go_on(2)
    await asyncio.gather(*asking)
    assert coalesced.waiting_s() == 0.0
