"""Exports: a trail, or what a filter lets through of it, as a stream of text; the oldest row first.

The rows are those of one moment, read from a cursor: what is held at a time does not grow with the trail, and
who does not read on is not read ahead for. A connection is held as long as it lasts, so there are AT_ONCE of
them in a process at most, one of each user and one of each team; none takes longer than WITHIN_S, and
Postgres ends one that nobody takes from for its idle_in_transaction_session_timeout.

Whoever may not read the trail any more gets no more of it: rights are asked again as it goes on.

That it began is in the trail before the first row leaves; how it ended follows.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from contextvars import Context
from datetime import datetime
from typing import Any, Final, Literal

import msgspec

from domain import csv_text, db
from domain.actor import Actor
from domain.audit_logs import leaves, reading, search
from domain.audit_logs.model import AuditRecord, Filter
from domain.clock import now
from domain.errors import RateLimited
from domain.record import record
from domain.teams import policy

Form = Literal["csv", "json", "ndjson"]
# The caller as what they came with stands for them now. Raises Unauthenticated where it is good no more.
Again = Callable[[], Awaitable[Actor]]

AT_ONCE: Final = 3
WITHIN_S: Final = 600.0
TRY_AGAIN_AFTER_S: Final = 30
ROWS_IN_A_PART: Final = 200
ASK_AGAIN_AFTER_S: Final = 1.0
_NAMES: Final = tuple(field.encode_name for field in msgspec.structs.fields(AuditRecord))
_FIELDS: Final = AuditRecord.__struct_fields__

_running: Final[set["Export"]] = set()


class Export:
    """One that has begun. `parts()` is taken from once; `end()` is said whatever became of it."""

    def __init__(
        self, actor: Actor, team_id: str, only: Filter, form: Form, *, at: datetime, again: Again
    ) -> None:
        self.actor = actor
        self.team_id = team_id
        self._again = again
        self._asked_at = time.monotonic()
        self._only = only
        self._form = form
        self.name = f"audit-{team_id}-{at:%Y%m%dT%H%M%SZ}.{form}"
        self.sent = 0
        self.is_whole = False

    async def parts(self) -> AsyncGenerator[bytes, None]:
        """The text, part by part.

        Raises what the database raises; Unauthenticated, NotFound or Forbidden once the caller may not have
        the rest.
        """
        opening, between, closing = _AROUND[self._form]
        yield opening
        async with db.snapshot():
            asked = await search.conditions(self.team_id, self._only)
            sql = f"SELECT {leaves.COLUMNS} FROM audit_logs WHERE {asked.where} ORDER BY seq"  # noqa: S608 - names of ours
            batch: list[Mapping[str, Any]] = []
            async with aclosing(db.stream(sql, *asked.args)) as rows:
                async for row in rows:
                    batch.append(row)
                    if len(batch) == ROWS_IN_A_PART:
                        await self._ask_again()
                        yield self._part(batch, between)
                        batch = []
            if batch:
                await self._ask_again()
                yield self._part(batch, between)
        self.is_whole = True
        yield closing

    async def _ask_again(self) -> None:
        """Before rows leave: whether they still may. In a context of its own, on another connection: the
        snapshot would say what was true when it began.
        """
        if time.monotonic() - self._asked_at >= ASK_AGAIN_AFTER_S:
            asked_at = time.monotonic()
            await asyncio.create_task(self._require(), context=Context())
            self._asked_at = asked_at

    async def _require(self) -> None:
        await policy.require(await self._again(), self.team_id, "audit:read")

    def _part(self, batch: list[Mapping[str, Any]], between: bytes) -> bytes:
        first = self.sent == 0
        self.sent += len(batch)
        if self._form == "csv":
            return csv_text.lines(tuple(map(_cell, row.values())) for row in batch)
        text = between.join(map(leaves.leaf, batch))
        return text if first else between + text

    async def end(self) -> None:
        """Say in the trail how it went."""
        _running.discard(self)
        kind = reading.AuditLogsExported if self.is_whole else reading.ExportBroken
        async with db.transaction():
            await record(self.actor, kind(team_id=self.team_id, what={**self._told, "count": self.sent}))

    @property
    def _told(self) -> dict[str, Any]:
        return {"filter": reading.told(self._only), "format": self._form, "file": self.name}


async def begin(actor: Actor, team_id: str, only: Filter, form: Form, *, again: Again) -> Export:
    """Begin one; `again` is asked who the caller is while it goes on.

    Raises RateLimited `too_many_exports`, and what `policy.require` raises.
    """
    await policy.require(actor, team_id, "audit:read")
    _require_room(actor.user, team_id)
    export = Export(actor, team_id, only, form, at=now(), again=again)
    _running.add(export)
    try:
        async with db.transaction():
            await record(actor, reading.ExportStarted(team_id=team_id, what=export._told))
    except BaseException:
        _running.discard(export)
        raise
    return export


def _require_room(user_id: str, team_id: str) -> None:
    """Raises RateLimited `too_many_exports`. Nobody holds more than one place, so nobody holds them all."""
    if any(one.actor.user == user_id for one in _running):
        detail = "You have an export under way: let it end first."
    elif any(one.team_id == team_id for one in _running):
        detail = "An export of this team is under way: try again in a while."
    elif len(_running) >= AT_ONCE:
        detail = f"{AT_ONCE} exports are under way here: try again in a while."
    else:
        return
    raise RateLimited(detail, code="too_many_exports", retryAfter=TRY_AGAIN_AFTER_S)


# What stands before, between and after the rows.
_AROUND: Final[dict[Form, tuple[bytes, bytes, bytes]]] = {
    "csv": (csv_text.lines([_NAMES]), b"", b""),
    "json": (b'{"success":true,"data":[\n', b",\n", b"\n]}\n"),
    "ndjson": (b"", b"\n", b"\n"),
}
assert _FIELDS[-1] == "seq", "columns are in the order of the fields"


def _cell(value: Any) -> Any:
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value
