"""Sweeping: what ended long ago is forgotten: sessions, tokens, secrets of no use, failures to sign in.

The audit trail keeps what was done in those sessions.
"""

from datetime import timedelta
from typing import Final

from domain import db, jobs
from domain.auth import enrolment, throttle
from domain.clock import now

FORGOTTEN_AFTER: Final = timedelta(days=90)
TOKENS_FORGOTTEN_AFTER: Final = timedelta(days=1)
AT_ONCE: Final = 1000
HOURLY: Final = timedelta(hours=1)


@jobs.cron("auth.sweep_sessions", every=HOURLY)
async def sweep_sessions() -> None:
    """Sessions that are over."""
    await _forget("user_sessions", "id", "expires_at < $1 OR revoked_at < $1", FORGOTTEN_AFTER)


@jobs.cron("auth.sweep_one_time_tokens", every=HOURLY)
async def sweep_one_time_tokens() -> None:
    """Tokens and challenges that are good no more: anybody can ask for a challenge."""
    await _forget("one_time_tokens", "id", "expires_at < $1", TOKENS_FORGOTTEN_AFTER)


@jobs.cron("auth.sweep_unconfirmed_factors", every=HOURLY)
async def sweep_unconfirmed_factors() -> None:
    """Secrets of apps that nobody confirmed in time."""
    await _forget("mfa_factors", "id", "confirmed_at IS NULL AND created_at < $1", enrolment.UNCONFIRMED_FOR)


@jobs.cron("auth.sweep_failures", every=HOURLY)
async def sweep_failures() -> None:
    """Failures that are held against nobody any more."""
    await _forget("sign_in_failures", "key", "last_at < $1", throttle.FORGOTTEN_AFTER)


async def _forget(table: str, key: str, ended: str, ago: timedelta) -> None:
    """Delete what `ended` so long ago, some at a time, so that nobody waits for it.

    Asked for each row again when it is locked: it may have begun anew meanwhile. What others have locked is
    left for the next time, so that this waits for nobody, nor in a circle.
    """
    tag = f"DELETE {AT_ONCE}"
    while tag == f"DELETE {AT_ONCE}":
        tag = await db.execute(
            f"""DELETE FROM {table} WHERE {key} IN (
                    SELECT {key} FROM {table} WHERE {ended} ORDER BY {key} LIMIT $2 FOR UPDATE SKIP LOCKED)
                AND ({ended})""",  # noqa: S608 - names of ours
            now() - ago,
            AT_ONCE,
        )
