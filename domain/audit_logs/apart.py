"""Work on many trails: what is wrong with one of them holds up none of the others."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from domain import db

log = logging.getLogger("maycole.audit")


class Failed(Exception):
    """Which trails were left as they were; the log says why."""


class Apart:
    """Teams one by one, and which of them failed: `doing` is what for, such as `sealed`."""

    def __init__(self, doing: str) -> None:
        self._doing = doing
        self._failed: list[str] = []

    @contextmanager
    def team(self, team_id: str) -> Iterator[None]:
        """What fails inside is logged, and kept for end(). Raises what says that there is no database."""
        try:
            yield
        except db.UNREACHABLE:
            raise  # it is about no team: the others would fail, too
        except Exception as error:
            log.critical(
                "not %s: %s: %s; run `maycole audit verify`",
                self._doing,
                team_id,
                error or type(error).__name__,
                exc_info=error,
            )
            self._failed.append(team_id)

    def end(self) -> None:
        """Raises Failed where a team failed, so that the job shows as failed."""
        if self._failed:
            raise Failed(f"{len(self._failed)} trails were not {self._doing}: {', '.join(self._failed[:10])}")
