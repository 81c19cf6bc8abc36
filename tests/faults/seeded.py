"""python -m tests.faults.seeded <bug> serve | writer <job>: the product with a known bug in it.

A harness is worth as much as what it finds. Each bug here is one that a design like ours may well have, and
the checker must find every one. They are put into this process from outside, so that the product has no flag
for them; a name that is not there any more fails at once.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from functools import partial
from typing import Any, Final

import asyncpg

from app import cli
from app.pipeline.load import Load
from channels.gate import Gate
from channels.hub import Feed, Hub
from channels.relay import Relay
from domain import db, idempotency, streams
from tests.faults import writer
from tests.generous import be_generous

HEADS: Final = """INSERT INTO stream_heads AS h (channel, epoch, top)
    SELECT channel, $6, n FROM wanted ORDER BY channel
    ON CONFLICT (channel) DO UPDATE SET top = h.top + excluded.top
    RETURNING h.channel, h.epoch, h.top"""
Drafts = Sequence[streams.Draft]
FORGET_EVERY: Final = 5
LATE_S: Final = 0.2


def unordered_offsets() -> None:
    """Offsets are given out before COMMIT and for good, as serial ids are: what is undone leaves holes."""

    beside: list[asyncpg.Connection] = []
    turn = asyncio.Lock()

    async def give_out(connection: asyncpg.Connection, drafts: Drafts) -> str:
        async with turn:
            if not beside:
                beside.append(await asyncpg.connect(db.engine.config["dsn"]))
            rows = [
                await beside[0].fetchrow(
                    """INSERT INTO stream_heads AS h (channel, epoch, top) VALUES ($1, 'seeded', $2)
                       ON CONFLICT (channel) DO UPDATE SET top = h.top + excluded.top
                       RETURNING channel, epoch, top""",
                    channel,
                    count,
                )
                for channel, count in _counted(drafts)
            ]
        # As VALUES: names and epochs are ours, and hold nothing that must be quoted.
        return f"SELECT * FROM (VALUES {_values(rows)}) AS v (channel, epoch, top) WHERE $6::text <> ''"  # noqa: S608

    _give_offsets(give_out)


def no_head_lock() -> None:
    """The next offset is computed from a head that nobody holds: two writers get the same one."""

    async def compute(connection: asyncpg.Connection, drafts: Drafts) -> str:
        rows = []
        for channel, count in _counted(drafts):
            sql = "SELECT epoch, top FROM stream_heads WHERE channel = $1"
            row = await connection.fetchrow(sql, channel) or {"epoch": "seeded", "top": 0}
            rows.append({"channel": channel, "epoch": row["epoch"], "top": row["top"] + count})
        return f"""INSERT INTO stream_heads AS h (channel, epoch, top)
            SELECT * FROM (VALUES {_values(rows)}) AS v (channel, epoch, top) WHERE $6::text <> ''
            ON CONFLICT (channel) DO UPDATE SET top = excluded.top RETURNING h.channel, h.epoch, h.top"""  # noqa: S608 - see above

    _give_offsets(compute)


def announce_before_commit() -> None:
    """Entries are told of while they may still be undone."""

    def early(append: Any) -> Any:
        async def appended(*args: Any, **more: Any) -> list[streams.Entry]:
            entries: list[streams.Entry] = await append(*args, **more)
            streams.announce(entries)
            return entries

        return appended

    _replace(streams, "append", early)


def commit_forgotten() -> None:
    """Now and then a change is acknowledged and told of, and was rolled back."""
    forgotten: set[int] = set()
    count = 0

    def choose(append: Any) -> Any:
        async def appended(connection: Any, drafts: Drafts, **more: Any) -> list[streams.Entry]:
            nonlocal count
            count += any(draft.type == "inventory.adjusted" for draft in drafts)
            if count == FORGET_EVERY:
                count = 0
                forgotten.add(id(connection))
            entries: list[streams.Entry] = await append(connection, drafts, **more)
            return entries

        return appended

    def forget(commit: Any) -> Any:
        async def committed(self: db.Transaction) -> None:
            if id(self.connection) in forgotten:
                forgotten.discard(id(self.connection))
                await self.rollback()  # type: ignore[no-untyped-call]
            else:
                await commit(self)

        return committed

    _replace(streams, "append", choose)
    _replace(db.Transaction, "commit", forget)


def gap_not_filled() -> None:
    """A publication that is not the next one is passed on straight away."""

    def leaps(deliver: Any) -> Any:
        def delivered(self: Hub, channel: str, epoch: str, offset: int, *more: Any) -> None:
            feed = self.feeds.get(channel)
            if feed is not None and offset > feed.last + 1:
                feed.ring.clear()
                feed.last = offset - 1
            deliver(self, channel, epoch, offset, *more)

        return delivered

    _replace(Hub, "deliver", leaps)


def resubscribe_without_catch_up() -> None:
    """Who comes back is said to have missed nothing."""

    def forgets(recent: Any) -> Any:
        def answered(self: Relay, *args: Any, **more: Any) -> list[bytes]:
            return []

        return answered

    _replace(Relay, "recent", forgets)


def false_recovery() -> None:
    """Who was away too long is said to be recovered."""

    def lies(recent: Any) -> Any:
        def answered(self: Relay, *args: Any, **more: Any) -> Any:
            return recent(self, *args, **more) or []

        return answered

    _replace(Relay, "recent", lies)


def ring_off_by_one() -> None:
    """Recovery begins one after the publication that was missed first."""

    def short(recent: Any) -> Any:
        def answered(self: Feed, after: int) -> Any:
            found = recent(self, after)
            return found[1:] if found else found

        return answered

    _replace(Feed, "recent", short)


def double_delivery() -> None:
    """A publication is written twice."""

    def twice(append: Any) -> Any:
        def appended(self: Feed, pushed: Any) -> None:
            append(self, pushed)
            self.pending.append(self.pending[-1])

        return appended

    _replace(Feed, "append", twice)


def deaf_to_removal() -> None:
    """The news that rights have changed is not acted on."""

    def deaf(concerns: Any) -> Any:
        return lambda *args, **more: "nothing"

    _replace(Gate, "concerns", deaf)


def answer_after_commit() -> None:
    """The answer to a request with a key is written once its effect has been committed, a moment later."""
    under_way: set[asyncio.Task[None]] = set()

    def late(keep: Any) -> Any:
        async def write(*args: Any) -> None:
            await asyncio.sleep(LATE_S)
            async with db.transaction():
                await keep(*args)

        def begin(*args: Any) -> None:
            task = asyncio.create_task(write(*args), context=Context())
            under_way.add(task)
            task.add_done_callback(under_way.discard)

        async def kept(*args: Any) -> None:
            db.current().after_commit.append(partial(begin, *args))

        return kept

    _replace(idempotency, "keep", late)


BUGS: Final[dict[str, Callable[[], None]]] = {
    bug.__name__.replace("_", "-"): bug
    for bug in (
        unordered_offsets,
        no_head_lock,
        announce_before_commit,
        commit_forgotten,
        gap_not_filled,
        resubscribe_without_catch_up,
        false_recovery,
        ring_off_by_one,
        double_delivery,
        deaf_to_removal,
        answer_after_commit,
    )
}


def never_refuses() -> None:
    """However much there is to do, one more is let in."""

    def lets_in(begin: Any) -> Any:
        def begun(self: Load) -> bool:
            self.at_work += 1
            return True

        return begun

    _replace(Load, "begin", lets_in)


# What the checker cannot see; tests/faults/scenarios/ has what does.
OTHERS: Final[dict[str, Callable[[], None]]] = {"never-refuses": never_refuses}


def _replace(owner: Any, name: str, made: Callable[[Any], Any]) -> None:
    """Put `made(what is there)` in its place. Raises AttributeError where nothing of that name is there."""
    setattr(owner, name, made(getattr(owner, name)))


def _give_offsets(give: Callable[[asyncpg.Connection, Drafts], Awaitable[str]]) -> None:
    """Let `give` make the SQL that gives the heads, in place of the one that locks them."""

    def otherwise(append: Any) -> Any:
        async def appended(connection: Any, drafts: Drafts, **more: Any) -> list[streams.Entry]:
            assert more["sql"].count(HEADS) == 1, "the statement has changed: so must this bug"
            more["sql"] = more["sql"].replace(HEADS, await give(connection, drafts))
            entries: list[streams.Entry] = await append(connection, drafts, **more)
            return entries

        return appended

    assert HEADS in streams.statement(), "the statement has changed: so must this bug"
    _replace(streams, "append", otherwise)


def _counted(drafts: Drafts) -> list[tuple[str, int]]:
    names = [draft.channel for draft in drafts]
    return [(name, names.count(name)) for name in sorted(set(names))]


def _values(rows: Sequence[Any]) -> str:
    return ", ".join(f"('{row['channel']}', '{row['epoch']}', {row['top']}::bigint)" for row in rows)


def main() -> None:
    bug, program, *rest = sys.argv[1:]
    if bug != "none":
        (BUGS | OTHERS)[bug]()
    if program == "serve":
        be_generous()
        cli.main(["serve", *rest])
    else:
        writer.main(*rest)


if __name__ == "__main__":
    main()
