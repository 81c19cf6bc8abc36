"""Attempts: wrong answers are counted, and after five of them in a row the next try has to wait.

The wait begins with 30 seconds and doubles with each further failure, up to an hour; one failure is forgotten
for each hour without one, and all of them when it goes right. The row stays locked until the transaction
ends, so those who try at the same time try one after another, and none passes before the count is raised.
"""

import math
from datetime import datetime, timedelta
from typing import Final

import asyncpg

from domain import db
from domain.clock import now
from domain.errors import RateLimited

FREE: Final = 5
FIRST_WAIT_S: Final = 30
WAIT_MAX_S: Final = 3600
FORGETS_ONE_IN: Final = timedelta(hours=1)


async def check(key: str) -> None:
    """Lock the counter. Raises RateLimited `too_many_attempts` while there is a wait."""
    row = await lock(key)
    failures = _left_of(row["failures"], row["last_at"])
    if failures < FREE:
        return
    wait_s = min(FIRST_WAIT_S * 2 ** min(failures - FREE, 20), WAIT_MAX_S)
    remaining_s = (row["last_at"] + timedelta(seconds=wait_s) - now()).total_seconds()
    if remaining_s > 0:
        raise RateLimited(
            "There were too many wrong attempts: wait, then try again.",
            code="too_many_attempts",
            retryAfter=math.ceil(remaining_s),
        )


async def lock(key: str) -> asyncpg.Record:
    """Lock the counter, and let everyone pass."""
    return await db.fetchrow(
        """INSERT INTO sign_in_failures (key, failures, last_at) VALUES ($1, 0, $2)
           ON CONFLICT (key) DO UPDATE SET key = EXCLUDED.key RETURNING failures, last_at""",
        key,
        now(),
    )


async def failed(key: str) -> None:
    """One more, in the transaction that is under way and that `check` has begun."""
    row = await lock(key)
    await db.execute(
        "UPDATE sign_in_failures SET failures = $2, last_at = $3 WHERE key = $1",
        key,
        _left_of(row["failures"], row["last_at"]) + 1,
        now(),
    )


async def cleared(key: str) -> None:
    """It went right: nothing is held against them."""
    await db.execute("DELETE FROM sign_in_failures WHERE key = $1", key)


def _left_of(failures: int, last_at: datetime) -> int:
    return max(0, failures - int((now() - last_at) / FORGETS_ONE_IN))
