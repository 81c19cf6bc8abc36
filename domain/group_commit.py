"""Group commit: what the members of a team make at the same time is one commit.

A verb that reads and locks nothing but its caller's membership needs no conversation with Postgres. One
statement looks at the session, holds the membership, writes the rows, raises the heads, writes entries and
audit rows, and is its own commit; as a transaction that is six, and the heads stay locked from the fifth to
the end of the last. What is made with the same right in the same team while such a statement is under way
goes into the next one together: by itself each would wait at the heads for the others.

Promises
  - Each is there whole or not at all, and announced after its commit, as with transaction(). The right to it
    is the membership as it is then, held until the commit (docs/decisions/0009); the session is asked about
    then as well, so whoever asks may be let in by what is remembered of theirs (docs/decisions/0036).
  - Nobody pays for what another sends: what Postgres refuses of several is made one by one, each in a
    transaction of its own, and raises what is its own.
  - Whoever is cancelled while they wait for their turn makes nothing. After that it is made, and announced.
"""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, Final, NamedTuple

import asyncpg
import msgspec

from domain import db, record, rows, streams, tracing
from domain.actor import Actor
from domain.auth import credentials
from domain.clock import now
from domain.events import Event
from domain.teams import policy

AT_ONCE_MAX: Final = 100

# Of one's own making: what a statement of many may owe to one of them.
_OWN: Final = (asyncpg.IntegrityConstraintViolationError, asyncpg.DataError)


class _Group(NamedTuple):
    """What may share a statement: things of the same kind, made with the same right in the same team."""

    team_id: str
    permission: str
    tables: tuple[tuple[str, tuple[str, ...]], ...]  # with their columns


@dataclass(slots=True)
class _Making:
    actor: Actor
    rows: Sequence[rows.Row]
    told: record.Told
    done: asyncio.Future[bool]
    context: Context


_waiting: Final[dict[_Group, deque[_Making]]] = {}  # for each group that is at work
_at_work: Final[set[asyncio.Task[None]]] = set()


async def make(
    actor: Actor, team_id: str, permission: str, event: Event, *, insert: Sequence[rows.Row]
) -> None:
    """Insert these rows, each into another table, and record the event, if the caller has the permission.

    Within a transaction it is a part of that. Raises Unauthenticated `session_over`, what policy.require
    raises, and what Postgres does.
    """
    if not db.is_writing():
        role = await policy.require(actor, team_id, permission)
        # A role of the team's own is to be held as well: that takes a transaction.
        if role.name in policy.BUILT_IN:
            group = _Group(team_id, permission, tuple((table, tuple(row)) for table, row in insert))
            if await _together(group, actor, event, insert):
                return
    async with db.transaction():
        await credentials.require_standing(actor)
        await policy.require(actor, team_id, permission)
        await rows.write(insert=insert)
        await record.record(actor, event)


async def _together(group: _Group, actor: Actor, event: Event, insert: Sequence[rows.Row]) -> bool:
    """Whether it was made; if not, nothing was, and it is to be made by itself."""
    done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    making = _Making(actor, insert, record.told(actor, event), done, copy_context())
    with tracing.span("transaction"):
        _join(group, making)
        return await done


def _join(group: _Group, making: _Making) -> None:
    waiting = _waiting.get(group)
    if waiting is not None:
        waiting.append(making)
        return
    _waiting[group] = deque([making])
    task = asyncio.create_task(_work(group, _waiting[group]))
    _at_work.add(task)
    task.add_done_callback(_at_work.discard)


async def _work(group: _Group, waiting: deque[_Making]) -> None:
    """The task has only just begun, so what was to be made in the same turn is in the first statement."""
    try:
        while waiting:
            some = [waiting.popleft() for _ in range(min(len(waiting), AT_ONCE_MAX))]
            some = [making for making in some if not making.done.done()]
            if some:
                await _commit(group, some)
    finally:
        del _waiting[group]
        for making in waiting:
            making.done.cancel()


async def _commit(group: _Group, some: Sequence[_Making]) -> None:
    try:
        entries = await _write(group, some)
    except _OWN as refused:
        _settle(some, refused if len(some) == 1 else False)
    except Exception as error:
        _settle(some, error)
    except asyncio.CancelledError:
        for making in some:
            making.done.cancel()
        raise
    else:
        if entries:
            _announce(some, entries)
        _settle(some, bool(entries))


def _announce(some: Sequence[_Making], entries: Sequence[streams.Entry]) -> None:
    """As whoever made it: what their request has reached, and the trace that it is part of."""
    at = iter(entries)
    for making in some:
        mine = list(islice(at, len(making.told.drafts)))
        try:
            making.context.run(record.announce, [making.told], mine)
        except Exception as bug:
            _settle([making], bug)  # a listener's; the others have nothing to do with it


def _settle(some: Sequence[_Making], outcome: bool | Exception) -> None:
    for making in some:
        if making.done.done():
            continue
        if isinstance(outcome, Exception):
            making.done.set_exception(outcome)
            making.done.exception()  # whoever waited may go before they look
        else:
            making.done.set_result(outcome)


async def _write(group: _Group, some: Sequence[_Making]) -> list[streams.Entry]:
    """One statement, one commit. Nothing is written, or returned, if it is not everybody's right any more."""
    actors = [making.actor for making in some]
    by_table = zip(*(making.rows for making in some), strict=True)
    own = [
        group.team_id,
        list({actor.user for actor in actors}),
        policy.built_in_with(group.permission),
        list({actor.session_id for actor in actors if actor.session_id is not None}),
        now(),
        *(_json([values for _, values in made]) for made in by_table),
    ]
    async with db.Connected() as connection:
        return await record.write(
            connection, [making.told for making in some], sql=_statement(group.tables), own=own
        )


def _json(values: Sequence[Mapping[str, Any]]) -> str:
    return msgspec.json.encode(values).decode()


@lru_cache
def _statement(tables: tuple[tuple[str, tuple[str, ...]], ...]) -> str:
    """Memberships, rows and heads are locked in this order, as in a transaction: each asks about the last."""
    own = (f"${record.OWN_FROM + nth}" for nth in range(5 + len(tables)))
    team, users, roles, sessions, at, *given = own
    held = policy.holding(f"m.team_id = {team} AND m.user_id = ANY({users}) AND m.role = ANY({roles})")
    parts = [f"held AS ({held})", f"standing AS ({credentials.standing(sessions, at)})"]
    goes_on = f"""(SELECT count(*) FROM held) = cardinality({users}::text[])
              AND (SELECT count(*) FROM standing) = cardinality({sessions}::text[])"""  # noqa: S608 - names of ours
    for nth, ((table, columns), values) in enumerate(zip(tables, given, strict=True)):
        names = ", ".join(columns)
        those = f"SELECT {names} FROM json_populate_recordset(NULL::{table}, {values}::json)"  # noqa: S608 - as above
        parts.append(f"made{nth} AS (INSERT INTO {table} ({names}) {those} WHERE {goes_on} RETURNING 1)")
        goes_on = f"(SELECT count(*) FROM made{nth}) > 0"  # noqa: S608 - as above
    return record.statement(first=", ".join(parts), where=goes_on)
