"""Sweeping: sessions that ended long ago are forgotten. The audit trail keeps what was done in them."""

from datetime import timedelta
from typing import Final

from domain import db, jobs
from domain.clock import now

FORGOTTEN_AFTER: Final = timedelta(days=90)
AT_ONCE: Final = 1000


@jobs.cron("auth.sweep_sessions", every=timedelta(hours=1))
async def sweep_sessions() -> None:
    """Delete them, some at a time, so that nobody waits for it."""
    while await _sweep_some() == AT_ONCE:
        pass


async def _sweep_some() -> int:
    gone = await db.fetch(
        """DELETE FROM user_sessions WHERE id IN (
               SELECT id FROM user_sessions WHERE expires_at < $1 OR revoked_at < $1 LIMIT $2
           ) RETURNING id""",
        now() - FORGOTTEN_AFTER,
        AT_ONCE,
    )
    return len(gone)
