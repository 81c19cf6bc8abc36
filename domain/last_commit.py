"""The last commit of a verb, held back until something else stands beside it in the same transaction.

Most verbs are one transaction, and whoever wants more in it opens it around them. Some are several: what they
count must hold whatever comes of them, and between two of them a password is hashed or a provider is asked,
for which no transaction may wait. Those say which one is their last:

    async with last_commit.concluding():            # db.transaction(), unless somebody holds it back
        ...

Where nobody does, that commits as ever. Else it commits when the holder says so, or not at all; what the verb
still does after it is in the same transaction. Why: an answer to a request with an idempotency key is written
where its effect is, or a crash between the two does it twice (app/pipeline/idempotency.py).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from contextvars import ContextVar

from domain import db


class Held:
    """The transaction that is held back, once there is one."""

    def __init__(self) -> None:
        self.unit: db.Unit | None = None
        self._open = AsyncExitStack()
        self._task = asyncio.current_task()

    @property
    def is_free(self) -> bool:
        """Whether a last transaction that begins now is the one to hold: of this task, in no other one."""
        return self.unit is None and self._task is asyncio.current_task() and not db.is_writing()

    async def begin(self) -> None:
        self.unit = await self._open.enter_async_context(db.transaction())

    async def commit(self, beside: Callable[[], Awaitable[None]]) -> None:
        """Commit what was held back, with what `beside` writes as the last statement before COMMIT.

        Alone where nothing was held back, or where it failed: then that is undone.
        """
        if self.unit is None or self.unit.doomed:
            await self.undo()
            async with db.transaction():
                await beside()
            return
        self.unit.before_commit.append(beside)
        await self._open.aclose()

    async def undo(self) -> None:
        """Roll back what was held back and is not committed."""
        self.unit = None
        await self._open.__aexit__(_Undone, _Undone(), None)


class _Undone(Exception):
    """Makes a transaction roll back."""


@contextmanager
def holding() -> Iterator[Held]:
    """Hold back the last commit of the verbs that this task calls in the block: commit it, or undo it."""
    held = Held()
    token = _held.set(held)
    try:
        yield held
    finally:
        _held.reset(token)


@asynccontextmanager
async def concluding() -> AsyncIterator[db.Unit]:
    """The last transaction of a verb that has several. As db.transaction(), but for who holds it back."""
    held = _held.get()
    if held is not None and held.is_free:
        await held.begin()
    async with db.transaction() as unit:
        yield unit


async def savepoint(unit: db.Unit) -> None:
    """A point that everything in this transaction can be taken back to."""
    await unit.connection.execute("SAVEPOINT maycole")


async def back_to_savepoint(unit: db.Unit) -> None:
    """Take back what was done since, and what was to happen around COMMIT; locks from before it stay."""
    await unit.connection.execute("ROLLBACK TO SAVEPOINT maycole")
    for noted in (unit.facts, unit.before_commit, unit.after_commit, unit.written):
        noted.clear()
    unit.doomed = False


_held: ContextVar[Held | None] = ContextVar("held", default=None)
