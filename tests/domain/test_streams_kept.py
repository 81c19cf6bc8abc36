"""What the log keeps: epochs, heads, and an honest hole where entries are past their time."""

# ruff: noqa: PT012 - it is the end of a transaction that raises: the block around it is what is tested

import asyncio
import contextvars
from datetime import datetime, timedelta

import asyncpg
import pytest

from domain import clock, db, streams
from domain.streams import Entry
from tests.domain.entries import committed, draft, names


class Undo(Exception):
    """What a writer raises to roll back on purpose."""


@pytest.mark.usefixtures("url")
async def test_each_channel_counts_for_itself_and_keeps_its_epoch() -> None:
    one, other = names(2)
    first = await committed([one, other, one])
    [second] = await committed([one])

    assert [(entry.channel, entry.offset) for entry in first] == [(one, 1), (other, 1), (one, 2)]
    assert (second.epoch, second.offset) == (first[0].epoch, 3)
    epochs = {head.channel: head.epoch for head in await streams.heads([one, other])}
    assert epochs == {one: first[0].epoch, other: first[1].epoch}


@pytest.mark.usefixtures("url")
async def test_a_channel_that_had_to_start_again_has_another_epoch(outside: asyncpg.Connection) -> None:
    [channel] = names(1)
    [before] = await committed([channel])
    await outside.execute("DELETE FROM stream_entries WHERE channel = $1", channel)
    await outside.execute("DELETE FROM stream_heads WHERE channel = $1", channel)

    [after] = await committed([channel])

    assert after.offset == before.offset, "by its offset alone nobody could tell"
    assert after.epoch != before.epoch


@pytest.mark.usefixtures("url")
async def test_opening_a_channel_twice_opens_it_once_even_at_the_same_time() -> None:
    [channel] = names(1)
    heads = await asyncio.gather(*(streams.open_head(channel) for _ in range(8)))
    assert len(set(heads)) == 1
    assert heads[0].offset == 0
    [entry] = await committed([channel])
    assert (entry.epoch, entry.offset) == (heads[0].epoch, 1)


@pytest.mark.usefixtures("url")
async def test_a_first_entry_that_is_rolled_back_leaves_no_head_and_no_hole() -> None:
    [channel] = names(1)
    with pytest.raises(Undo):
        async with db.transaction() as unit:
            await streams.append(unit.connection, [draft(channel)])
            raise Undo
    assert await streams.heads([channel]) == []
    [entry] = await committed([channel])
    assert entry.offset == 1


@pytest.mark.usefixtures("url")
async def test_a_snapshot_and_the_entries_after_its_position_are_everything() -> None:
    [channel] = names(1)
    await committed([channel])
    async with streams.snapshot(channel) as position:
        # Somebody else's request: a task of its own, that knows nothing of this transaction.
        [later] = await asyncio.create_task(committed([channel]), context=contextvars.Context())
        within = await streams.read(channel, 0, limit=10)
    after = await streams.read(channel, position.offset, limit=10)

    assert (position.offset, [entry.offset for entry in within]) == (1, [1])
    assert after == [later]


@pytest.mark.usefixtures("url")
async def test_reading_stops_at_its_limit_and_at_its_end_and_goes_back_in_the_other_order() -> None:
    [channel] = names(1)
    for _ in range(5):
        await committed([channel])

    def offsets(entries: list[Entry]) -> list[int]:
        return [entry.offset for entry in entries]

    assert offsets(await streams.read(channel, 1, limit=2)) == [2, 3]
    assert offsets(await streams.read(channel, 1, limit=9, until=4)) == [2, 3, 4]
    assert offsets(await streams.read(channel, 5, limit=9)) == []
    assert offsets(await streams.read_back(channel, None, limit=2)) == [5, 4]
    assert offsets(await streams.read_back(channel, 3, limit=9)) == [2, 1]


@pytest.mark.usefixtures("url")
async def test_past_their_time_entries_leave_a_hole_that_the_reader_can_see(
    outside: asyncpg.Connection,
) -> None:
    [channel] = names(1)
    for _ in range(4):
        await committed([channel])
    [before] = await streams.heads([channel])

    await outside.execute('DELETE FROM stream_entries WHERE channel = $1 AND "offset" <= 2', channel)

    entries = await streams.read(channel, 0, limit=10)
    assert [entry.offset for entry in entries] == [3, 4], "what follows on 0 would be 1"
    assert [entry.offset for entry in await streams.read(channel, 2, limit=10)] == [3, 4], "no hole from here"
    assert await streams.heads([channel]) == [before]


@pytest.mark.usefixtures("url")
async def test_a_channel_whose_entries_are_all_gone_still_counts_on_in_the_same_epoch(
    outside: asyncpg.Connection,
) -> None:
    [channel] = names(1)
    first = await committed([channel, channel])
    await outside.execute("DELETE FROM stream_entries WHERE channel = $1", channel)

    assert await streams.read(channel, 0, limit=10) == []
    [head] = await streams.heads([channel])
    assert (head.epoch, head.offset) == (first[0].epoch, 2), "an empty channel that is not at 0 says so"
    [next_one] = await committed([channel])
    assert (next_one.epoch, next_one.offset) == (first[0].epoch, 3)


@pytest.mark.usefixtures("url")
async def test_recent_heads_are_those_with_a_young_entry_and_no_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    young, empty = names(2)
    await streams.open_head(empty)
    await committed([young, young])

    async def recent() -> dict[str, int]:
        return {head.channel: head.offset for head in await streams.recent_heads(60)}

    assert (await recent()).get(young) == 2
    assert empty not in await recent()

    def in_two_minutes() -> datetime:
        return clock.now() + timedelta(minutes=2)

    monkeypatch.setattr(streams, "now", in_two_minutes)
    assert young not in await recent()
