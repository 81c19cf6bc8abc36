"""Sweeping: sessions that ended long ago are forgotten, and one-time tokens that have run out.

The audit trail keeps what was done in those sessions.
"""

from datetime import timedelta
from typing import Final

from domain import db, jobs
from domain.clock import now

FORGOTTEN_AFTER: Final = timedelta(days=90)
TOKENS_FORGOTTEN_AFTER: Final = timedelta(days=1)
AT_ONCE: Final = 1000


@jobs.cron("auth.sweep_sessions", every=timedelta(hours=1))
async def sweep_sessions() -> None:
    """Delete them, some at a time, so that nobody waits for it."""
    while await _sweep_some() == AT_ONCE:
        pass


@jobs.cron("auth.sweep_one_time_tokens", every=timedelta(hours=1))
async def sweep_one_time_tokens() -> None:
    """The same for tokens and challenges that are good no more: anybody can ask for a challenge."""
    while await _sweep_some_tokens() == AT_ONCE:
        pass


async def _sweep_some_tokens() -> int:
    gone = await db.fetch(
        """DELETE FROM one_time_tokens WHERE id IN (
               SELECT id FROM one_time_tokens WHERE expires_at < $1 LIMIT $2
           ) RETURNING id""",
        now() - TOKENS_FORGOTTEN_AFTER,
        AT_ONCE,
    )
    return len(gone)


async def _sweep_some() -> int:
    gone = await db.fetch(
        """DELETE FROM user_sessions WHERE id IN (
               SELECT id FROM user_sessions WHERE expires_at < $1 OR revoked_at < $1 LIMIT $2
           ) RETURNING id""",
        now() - FORGOTTEN_AFTER,
        AT_ONCE,
    )
    return len(gone)
