"""The database: one engine, one pool, and transaction(): one verb, one commit.

Everything inside `async with transaction()` runs on one connection and becomes visible together, or not at
all. What record() collected is written just before COMMIT and announced after it (domain/record.py). A
transaction inside a transaction is the same transaction; an exception that leaves the inner block dooms the
whole, even if it is caught.

Piccolo queries and plain SQL (`fetch`, `fetchrow`, `fetchval`, `execute`) find the transaction by themselves.
What they raise says what was wrong, never with which values: errors end in logs.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final, TypeVar

import asyncpg
from piccolo.engine.postgres import PostgresEngine, PostgresTransaction
from piccolo.querystring import QueryString

from domain import commits, connections, tracing
from domain.actor import Actor
from domain.discretion import forget_values, without_values
from domain.events import Event

T = TypeVar("T")

CONNECT_WITHIN_S = 5
COMMAND_WITHIN_S = 8
STREAMED_AT_ONCE = 500
# Whom connections act as: it owns no table, so what is append only is so for us (domain/grants.py).
ROLE = "maycole_app"
SERVER_SETTINGS = {
    "application_name": "maycole",
    "statement_timeout": "5s",
    "lock_timeout": "3s",
    "idle_in_transaction_session_timeout": "10s",
    "timezone": "UTC",
    "role": ROLE,
    "plan_cache_mode": "force_generic_plan",
}
_UNBOUNDED: Final = {"timezone": "UTC"}

# What a statement raises while Postgres restarts, is cut off, or is too busy: the caller may try again later.
UNREACHABLE = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.LockNotAvailableError,
    asyncpg.TransactionRollbackError,
    # While the server is being moved: its password, its name, its role as the one that may write.
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InterfaceError,
    # What a statement meets between the server's last word ("terminating connection") and the wire's end.
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)


class Unit:
    """A transaction in progress: its connection, the facts recorded so far, what happens around COMMIT."""

    def __init__(self, connection: asyncpg.Connection, *, writable: bool) -> None:
        self.connection = connection
        self.writable = writable
        self.task = asyncio.current_task()
        self.doomed = False
        self.facts: list[tuple[Actor, Event]] = []
        self.before_commit: list[Callable[[], Awaitable[None]]] = []
        self.after_commit: list[Callable[[], None]] = []
        self.written: list[Any] = []  # the entries of the log, once it is about to commit (domain/record.py)


class Transaction(PostgresTransaction):
    """Piccolo's transaction, with both ends repaired.

    Upstream leaves the connection taken and the transaction current when COMMIT or ROLLBACK raises (a
    deferred constraint, a lost connection); every later transaction of that task is then a silent no-op
    inside a dead one. It also keeps the connection for good when BEGIN fails or is cancelled, and waits for
    ever where every connection is taken.
    """

    async def get_connection(self) -> asyncpg.Connection:
        assert self.engine.pool is not None
        return await connections.take(self.engine.pool, CONNECT_WITHIN_S)

    async def begin(self) -> None:
        try:
            await super().begin()  # type: ignore[no-untyped-call]  # Piccolo has no annotations here
        except BaseException:
            # Nobody knows whether BEGIN got through, and no __aexit__ follows.
            self.connection.terminate()
            raise

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        forget_values(exception)
        if self._parent is not None:
            return False
        # Whoever did not answer a statement in time would not answer ROLLBACK either, for as long again.
        silent = isinstance(exception, TimeoutError)
        try:
            if exception is None:
                with without_values():
                    await self.commit()  # type: ignore[no-untyped-call]  # Piccolo has no annotations here
            elif not silent and not self.connection.is_closed():
                # What is cut off is rolled back as well, by Postgres.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(connections.GIVE_BACK_WITHIN_S):
                        await self.rollback()  # type: ignore[no-untyped-call]  # nor here
        finally:
            self.engine.current_transaction.reset(self.context)
            if silent or self.connection.is_in_transaction():
                # Neither COMMIT nor ROLLBACK got through: this connection must not serve anyone else.
                self.connection.terminate()
            assert self.engine.pool is not None
            await connections.give_back(self.engine.pool, self.connection)
        return False


class Engine(PostgresEngine):
    """Piccolo's engine, which does not connect while it is being imported and always uses a pool."""

    async def check_version(self) -> None:
        """Nothing at import: upstream opens a connection here."""

    async def prep_database(self) -> None:
        """Nothing at import: extensions are made by migrations."""

    def transaction(self, allow_nested: bool = True) -> Transaction:
        return Transaction(engine=self, allow_nested=allow_nested)

    async def run_querystring(self, querystring: QueryString, in_pool: bool = True) -> Any:
        with without_values():
            return await super().run_querystring(querystring, in_pool)

    async def _run_in_pool(self, query: str, args: Sequence[Any] | None = None) -> Any:
        assert self.pool is not None
        async with connections.Taken(self.pool, CONNECT_WITHIN_S) as connection:
            return await connection.fetch(query, *(args or ()))


engine = Engine(config={})
_unit: ContextVar[Unit | None] = ContextVar("unit", default=None)


async def open_pool(url: str, *, size: int = 10, bounded: bool = True, within_s: int | None = None) -> None:
    """Connect: `size` connections at most. Every wait on them is bounded, and they act as ROLE.

    `within_s` is for what reads much: a statement may take so long. Not `bounded` is for migrations.
    """
    times = ("statement_timeout", "idle_in_transaction_session_timeout") if within_s else ()
    # `config` also serves the connections that Piccolo opens outside the pool (its migration commands).
    engine.config = {"dsn": url}
    await engine.start_connection_pool(
        min_size=min(2, size),
        max_size=size,
        init=connections.prepare,
        reset=connections.leave_as_is,
        timeout=CONNECT_WITHIN_S,
        command_timeout=(within_s or COMMAND_WITHIN_S) if bounded else None,
        server_settings=SERVER_SETTINGS | dict.fromkeys(times, f"{within_s}s") if bounded else _UNBOUNDED,
    )


async def close_pool() -> None:
    if engine.pool is not None:
        try:
            await asyncio.wait_for(engine.pool.close(), CONNECT_WITHIN_S)
        except TimeoutError:
            engine.pool.terminate()
        engine.pool = None


@asynccontextmanager
async def transaction() -> AsyncIterator[Unit]:
    """One commit. Raises what the block raises, after rolling everything back."""
    outer = _unit.get()
    if outer is not None:
        _mine(outer)
        try:
            yield outer
        except BaseException:
            outer.doomed = True
            raise
        return
    committing: commits.Committing | None = None
    try:
        with tracing.span("transaction"):
            async with engine.transaction() as started:
                unit = Unit(started.connection, writable=True)
                token = _unit.set(unit)
                try:
                    yield unit
                    await _finish(unit)
                    committing = commits.Committing(unit.task)
                finally:
                    _unit.reset(token)
        for announce in unit.after_commit:
            announce()
    finally:
        if committing is not None:
            committing.over()


async def _finish(unit: Unit) -> None:
    if unit.doomed:
        raise RuntimeError("a part of this transaction failed and its exception was swallowed")
    for step in unit.before_commit:
        await step()
    if not unit.before_commit:
        # After a failed statement whose exception was swallowed, COMMIT is a ROLLBACK that nobody is told of;
        # any other statement is an error.
        await unit.connection.execute("SELECT")


@asynccontextmanager
async def maintenance(*, within_s: int | None = None) -> AsyncIterator[Unit]:
    """A transaction of the owner of the tables: for partitions, and nothing that a request asks for.

    With `within_s` the server lets a statement take so long. Give it to the statement, too (`timeout=`): this
    side waits for COMMAND_WITHIN_S otherwise.
    """
    async with transaction() as unit:
        await unit.connection.execute("SET LOCAL ROLE NONE")
        if within_s is not None:
            await unit.connection.execute(f"SET LOCAL statement_timeout = '{within_s}s'")
        yield unit


@asynccontextmanager
async def snapshot() -> AsyncIterator[Unit]:
    """Reads that all see the same moment: REPEATABLE READ, read only. Nothing can be recorded inside."""
    async with engine.transaction(allow_nested=False) as started:
        await started.connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        unit = Unit(started.connection, writable=False)
        token = _unit.set(unit)
        try:
            yield unit
        finally:
            _unit.reset(token)


def current() -> Unit:
    """The transaction of this task. Raises RuntimeError where there is none that may be written in."""
    unit = _unit.get()
    if unit is None or not unit.writable:
        raise RuntimeError("this happens only inside `async with transaction()`")
    return _mine(unit)


def is_writing() -> bool:
    """Whether this task is in a transaction that may write."""
    unit = _unit.get()
    return unit is not None and unit.writable


async def fetch(sql: str, *args: Any) -> list[asyncpg.Record]:
    async with Connected() as connection:
        rows: list[asyncpg.Record] = await connection.fetch(sql, *args)
    return rows


async def fetchrow(sql: str, *args: Any) -> asyncpg.Record | None:
    async with Connected() as connection:
        return await connection.fetchrow(sql, *args)


async def fetchval(sql: str, *args: Any) -> Any:
    """The first column of the first row; its type is the statement's own, hence Any."""
    async with Connected() as connection:
        return await connection.fetchval(sql, *args)


async def stream(sql: str, *args: Any) -> AsyncGenerator[asyncpg.Record, None]:
    """Rows one after another, however many: only some are held at a time. Inside a transaction or snapshot.

    Raises RuntimeError outside of one.
    """
    unit = _unit.get()
    if unit is None:
        raise RuntimeError("a stream of rows needs a transaction or a snapshot")
    async for row in _mine(unit).connection.cursor(sql, *args, prefetch=STREAMED_AT_ONCE):
        yield row


async def execute(sql: str, *args: Any) -> str:
    """The command tag, such as `UPDATE 1`."""
    async with Connected() as connection:
        tag: str = await connection.execute(sql, *args)
    return tag


def as_struct(kind: type[T], row: Mapping[str, Any]) -> T:
    """A row as a Struct whose fields are named like its columns.

    The database is trusted: nothing is validated.
    """
    fields: tuple[str, ...] = kind.__struct_fields__  # type: ignore[attr-defined]  # T is always a Struct
    return kind(**{name: row[name] for name in fields})


def like(query: str | None) -> str | None:
    """The query as a literal part of a LIKE pattern."""
    if query is None:
        return None
    return query.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


class Connected:
    """What the statements of this task go to: its transaction's connection, or one of the pool."""

    __slots__ = ("_pool", "_taken")

    async def __aenter__(self) -> asyncpg.Connection:
        unit = _unit.get()
        if unit is not None:
            self._pool = None
            return _mine(unit).connection
        self._pool = engine.pool
        if self._pool is None:
            raise RuntimeError("the database is not open: call db.open_pool() first")
        self._taken = await connections.take(self._pool, CONNECT_WITHIN_S)
        return self._taken

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        forget_values(error)
        if self._pool is not None:
            await connections.give_back(self._pool, self._taken)


def _mine(unit: Unit) -> Unit:
    if unit.task is not asyncio.current_task():
        # One connection serves one statement at a time, and the transaction may end before that task does.
        raise RuntimeError("a task started inside a transaction may not use it")
    return unit
