"""Channels and entries for tests of the log itself, where no slice of the product is involved."""

from collections.abc import Sequence

from domain import db, ids, streams
from domain.streams import Draft, Entry


def names(count: int) -> list[str]:
    """Channels that nothing else uses."""
    return [f"scratch:{ids.new('test')}" for _ in range(count)]


def draft(channel: str) -> Draft:
    entry_id = ids.new("evt")
    return Draft(channel, entry_id, "tests.happened", f'{{"id":"{entry_id}"}}')


async def committed(channels: Sequence[str]) -> list[Entry]:
    """One transaction with an entry on each of these channels, in this order."""
    async with db.transaction() as unit:
        return await streams.append(unit.connection, [draft(channel) for channel in channels])
