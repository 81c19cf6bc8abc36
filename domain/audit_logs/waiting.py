"""Whose rows wait to be sealed: looked for where something happened just now, and now and then everywhere.

There is a trail for each team that ever was; most of them are still. So a look is at the trails that got rows
within RECENT_S and at those that were left the last time, and every ROUND_EVERY_S at all, PAGE by PAGE.
"""

import time
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Final

from domain import channels, db, streams

RECENT_S: Final = 120
ROUND_EVERY_S: Final = 600
PAGE: Final = 2000
_PREFIX: Final = channels.audit("")


class Waiting:
    """What one process knows of it."""

    def __init__(self) -> None:
        self._left: set[str] = set()
        self._round_at: float | None = None

    async def teams(self) -> list[str]:
        """The teams with rows that are under no checkpoint, those that have waited longest first.

        Each is among them again the next time, until done() was said of it.
        """
        begun = time.monotonic()
        if self._round_at is None or begun - self._round_at >= ROUND_EVERY_S:
            found = await _all()
            self._round_at = begun
        else:
            heads = {head.channel for head in await streams.recent_heads(RECENT_S)}
            heads |= {channels.audit(team_id) for team_id in self._left}
            found = await _unsealed([channel for channel in heads if channel.startswith(_PREFIX)])
        self._left = set(found)
        never = datetime.min.replace(tzinfo=UTC)
        return sorted(found, key=lambda team_id: found[team_id] or never)

    def done(self, team_id: str) -> None:
        """All of this team's rows that were there are sealed."""
        self._left.discard(team_id)


async def _all() -> dict[str, datetime | None]:
    found: dict[str, datetime | None] = {}
    after = ""
    while channels_ := await _page(after):
        after = channels_[-1]
        found |= await _unsealed([channel for channel in channels_ if channel.startswith(_PREFIX)])
    return found


async def _page(after: str) -> list[str]:
    """The channels that follow on this one, of any kind: no statement reads more than a page."""
    rows = await db.fetch(
        "SELECT channel FROM stream_heads WHERE channel > $1 ORDER BY channel LIMIT $2", after, PAGE
    )
    return [row["channel"] for row in rows]


async def _unsealed(audit_channels: Collection[str]) -> dict[str, datetime | None]:
    """The teams of these channels with rows under no checkpoint, and when they got their last one."""
    rows = await db.fetch(
        """SELECT substr(h.channel, $2) AS team_id, s.sealed_at FROM stream_heads h
           LEFT JOIN LATERAL (SELECT to_seq, sealed_at FROM audit_seals
                              WHERE team_id = substr(h.channel, $2) ORDER BY number DESC LIMIT 1) s ON true
           WHERE h.channel = ANY($1) AND h.top > coalesce(s.to_seq, 0)""",
        list(audit_channels),
        len(_PREFIX) + 1,
    )
    return {row["team_id"]: row["sealed_at"] for row in rows}
