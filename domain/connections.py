"""Connections: what each connection of the pool is made to be, and how long one is waited for."""

from time import perf_counter
from typing import Any, Final

import asyncpg
import msgspec

from domain import measures, tracing

KINDS: Final = frozenset(
    {"SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "BEGIN", "COMMIT", "ROLLBACK", "SET", "LOCK"}
)


async def prepare(connection: asyncpg.Connection) -> None:
    """JSONB is Python on this side. Text passes as it is: Piccolo encodes before it sends."""
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=lambda value: value if isinstance(value, str) else msgspec.json.encode(value).decode(),
        decoder=msgspec.json.decode,
    )
    connection.add_query_logger(_took)


async def leave_as_is(connection: asyncpg.Connection) -> None:
    """asyncpg's own reset costs a round trip on each release; nothing of ours leaves session state behind."""


async def taken_from(pool: asyncpg.Pool, *, within_s: float) -> asyncpg.Connection:
    """A connection, to be released. Raises TimeoutError where none is free in time."""
    began = perf_counter()
    try:
        return await pool.acquire(timeout=within_s)
    finally:
        measures.took("db_pool_wait", perf_counter() - began)


def _took(query: Any) -> None:
    """asyncpg's word on a statement (LoggedQuery): its arguments are in it, and are not looked at."""
    kind = query.query[:12].split(None, 1)[0].rstrip(";").upper() if query.query else ""
    if kind not in KINDS:
        kind = "OTHER"
    measures.took("db_statement", query.elapsed, kind)
    if tracing.tracer is not None:
        tracing.tracer.statement(kind, query.query, query.elapsed, query.exception)
