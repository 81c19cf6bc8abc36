"""Parked jobs are not kept for ever: what nobody has tried again in time is dropped, with what it was told.

What a job was told may be about a person; what a secret kind was told lets somebody in, or is the hash of a
password that was never used, and is dropped sooner. Their lines in the log of jobs stay as long as others.
"""

import logging
from collections import defaultdict
from datetime import timedelta
from typing import Final

from domain import job_store, jobs
from domain.parked_for import KEPT_DAYS as KEPT_DAYS
from domain.parked_for import SECRET_KEPT as SECRET_KEPT

AT_ONCE: Final = 1000
log = logging.getLogger("maycole.jobs")
_kept = timedelta(days=KEPT_DAYS)


def install(*, kept_days: int) -> None:
    """Keep parked jobs for so long; those of secret kinds for SECRET_KEPT at most."""
    global _kept
    _kept = timedelta(days=kept_days)


def kept(name: str) -> timedelta:
    """For how long jobs of this kind stay parked."""
    return min(SECRET_KEPT, _kept) if name in _secret() else _kept


@jobs.cron("jobs.drop_parked", every=timedelta(hours=1))
async def drop() -> None:
    """Drop what has been parked for too long, and say which jobs those were."""
    while dropped := await job_store.drop_parked(
        _secret(), secret_kept=min(SECRET_KEPT, _kept), kept=_kept, most=AT_ONCE
    ):
        ids = defaultdict(list)
        for job_id, name in dropped:
            ids[name].append(job_id)
        for name, of_it in sorted(ids.items()):
            log.warning(
                "dropped %d parked jobs %s, which nobody has tried again: %s",
                len(of_it),
                name,
                ", ".join(map(str, of_it)),
            )


def _secret() -> list[str]:
    return [job.name for job in jobs.DECLARED.values() if job.secret]
