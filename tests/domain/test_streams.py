"""The log under concurrent writers: what was committed is read once, in order, without a hole.

Beside the follower that reads by offset runs a naive one, "serial id greater than my cursor", on the same
transactions. It loses entries, which shows that the race is there to be lost.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import asyncpg
import pytest

from domain import db, streams
from domain.streams import Entry
from tests.domain.conftest import Scratch
from tests.domain.entries import draft, names

WRITERS = 8
TRANSACTIONS_EACH = 60
HELD_OPEN = 0.2
ROLLED_BACK = 0.1


class Undo(Exception):
    """What a writer raises to roll back on purpose."""


@dataclass
class History:
    """What the writers were told, by channel: offset -> entry id; and what they took back."""

    committed: dict[str, dict[int, str]] = field(default_factory=lambda: defaultdict(dict))
    undone: set[str] = field(default_factory=set)
    transactions: int = 0

    def note(self, entries: Sequence[Entry]) -> None:
        self.transactions += 1
        for entry in entries:
            assert entry.offset not in self.committed[entry.channel], "two writers were given one offset"
            self.committed[entry.channel][entry.offset] = entry.id

    def ids(self) -> list[str]:
        return [entry_id for of_channel in self.committed.values() for entry_id in of_channel.values()]


@dataclass
class Seen:
    """What a reader has read: entry ids in the order in which they came."""

    ids: list[str] = field(default_factory=list)
    offsets: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def lost(self, committed: list[str]) -> int:
        return len(set(committed) - set(self.ids))

    def doubled(self) -> int:
        return len(self.ids) - len(set(self.ids))


async def write(channels: Sequence[str], scratch: Scratch, history: History, rng: random.Random) -> None:
    """One transaction: rows in the naive log, the work, then the entries as the last statement."""
    drafts = [
        draft(channel)
        for channel in rng.sample(channels, rng.randint(1, min(4, len(channels))))
        for _ in range(rng.randint(1, 2))
    ]
    held, undone = rng.random() < HELD_OPEN, rng.random() < ROLLED_BACK
    try:
        async with db.transaction() as unit:
            await unit.connection.executemany(scratch.add, [(one.id,) for one in drafts])
            if held:
                await asyncio.sleep(rng.uniform(0.001, 0.015))
            entries = await streams.append(unit.connection, drafts)
            if held:
                await asyncio.sleep(rng.uniform(0, 0.002))
            if undone:
                raise Undo
    except Undo:
        history.undone |= {one.id for one in drafts}
    else:
        history.note(entries)


async def follow(channels: Sequence[str], seen: Seen) -> int:
    """Read on in every channel from what was read last; how many entries there were."""
    found = 0
    for channel in channels:
        offsets = seen.offsets[channel]
        entries = await streams.read(channel, offsets[-1] if offsets else 0, limit=100)
        offsets += [entry.offset for entry in entries]
        seen.ids += [entry.id for entry in entries]
        found += len(entries)
    return found


async def follow_naively(scratch: Scratch, seen: Seen) -> int:
    """Read on in the table of serial ids from the highest id that was read: how logs are often followed."""
    cursors = seen.offsets[scratch.name]
    rows = await db.fetch(scratch.after, cursors[-1] if cursors else 0)
    cursors += [row["id"] for row in rows]
    seen.ids += [row["word"] for row in rows]
    return len(rows)


@pytest.mark.usefixtures("url")
@pytest.mark.parametrize("channel_count", [1, 6], ids=["on one channel", "on several channels"])
async def test_every_committed_entry_is_read_once_and_in_order_while_eight_writers_write(
    channel_count: int, scratch: Scratch
) -> None:
    channels, history, seen, naive = names(channel_count), History(), Seen(), Seen()

    async def writer(number: int) -> None:
        rng = random.Random(number)  # noqa: S311 - faults, not secrets
        for _ in range(TRANSACTIONS_EACH):
            await write(channels, scratch, history, rng)

    writing = asyncio.gather(*(writer(number) for number in range(WRITERS)))
    while not writing.done():
        await follow(channels, seen)
        await follow_naively(scratch, naive)
        await asyncio.sleep(0)
    await writing
    while await follow(channels, seen) + await follow_naively(scratch, naive):
        pass

    committed = history.ids()
    for who, reader in (("by offset", seen), ("by serial id", naive)):
        print(
            f"\n{channel_count} channels, {history.transactions} transactions, {len(committed)} entries, "
            f"read {who}: lost {reader.lost(committed)}, doubled {reader.doubled()}",
            end="",
        )
    assert history.undone, "some must roll back for this to mean anything"
    assert naive.lost(committed), "a reader by serial id must lose some for this to mean anything"
    assert (seen.lost(committed), seen.doubled()) == (0, 0)
    assert not history.undone & set(seen.ids)
    for channel in channels:
        assert seen.offsets[channel] == list(range(1, len(history.committed[channel]) + 1))
    told = {entry_id: offset for of in history.committed.values() for offset, entry_id in of.items()}
    read = [offset for channel in channels for offset in seen.offsets[channel]]
    assert len(told) == len(read), "what the writers were told is what the follower has read"
    for channel in channels:
        again = await streams.read(channel, 0, limit=len(committed))
        assert {entry.offset: entry.id for entry in again} == history.committed[channel]


@pytest.mark.usefixtures("whole_pool")
async def test_writers_with_overlapping_channels_never_wait_for_each_other_in_a_circle() -> None:
    channels = names(5)

    async def writer(number: int) -> int:
        rng = random.Random(number)  # noqa: S311 - faults, not secrets
        for _ in range(40):
            chosen = rng.sample(channels, rng.randint(2, 5))
            async with db.transaction() as unit:
                await streams.append(unit.connection, [draft(channel) for channel in chosen])
        return number

    assert await asyncio.gather(*(writer(number) for number in range(WRITERS))) == list(range(WRITERS))
    for head in await streams.heads(channels):
        entries = await streams.read(head.channel, 0, limit=WRITERS * 40)
        assert [entry.offset for entry in entries] == list(range(1, head.offset + 1))


@pytest.mark.usefixtures("whole_pool")
async def test_without_that_order_two_writers_do_wait_in_a_circle() -> None:
    one, other = names(2)
    both_hold_one = asyncio.Barrier(2)

    async def writer(first: str, second: str) -> None:
        async with db.maintenance() as unit:  # only a superuser may set that
            await unit.connection.execute("SET LOCAL deadlock_timeout = '20ms'")
            await streams.append(unit.connection, [draft(first)])
            await both_hold_one.wait()
            await streams.append(unit.connection, [draft(second)])

    endings = await asyncio.gather(writer(one, other), writer(other, one), return_exceptions=True)
    assert [type(ending) for ending in endings if ending] == [asyncpg.DeadlockDetectedError]
