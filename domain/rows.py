"""Rows written together: several INSERTs and UPDATEs as one statement, and so one journey to Postgres.

For verbs that are run often. A journey costs more than the row: measured, a fifth of a millisecond of CPU of
the two together, as much as Piccolo takes to put an INSERT into words.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from domain import db

Row = tuple[str, Mapping[str, Any]]  # the table, and values by column


async def write(*, insert: Sequence[Row] = (), update: Sequence[Row] = ()) -> None:
    """Insert these rows, and update those, which are found by their `id`.

    All of them see the tables as they were before the statement: a row that is inserted here cannot be
    updated here too. Constraints, foreign keys among them, are looked at when all are written. Raises what
    Postgres raises.
    """
    shape = [tuple((table, tuple(row)) for table, row in rows) for rows in (insert, update)]
    values = [value for _, row in (*insert, *update) for value in row.values()]
    await db.execute(_statement(*shape), *values)


@lru_cache
def _statement(insert: tuple[tuple[str, tuple[str, ...]], ...], update: Any) -> str:
    parts, at = [], 1
    for table, columns in insert:
        places = ", ".join(f"${place}" for place in range(at, at + len(columns)))
        parts.append(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})")  # noqa: S608 - names of ours
        at += len(columns)
    for table, columns in update:
        given = {column: f"${place}" for place, column in enumerate(columns, at)}
        row = given.pop("id")
        changes = ", ".join(f"{column} = {place}" for column, place in given.items())
        parts.append(f"UPDATE {table} SET {changes} WHERE id = {row}")  # noqa: S608 - names of ours
        at += len(columns)
    *before, last = parts
    with_those = ", ".join(f"w{nth} AS ({part})" for nth, part in enumerate(before))
    return f"WITH {with_those} {last}" if before else last
