"""Refusals in the trail: which members tried what their role, or their key, may not.

The request is refused at once; its row is written beside it, within a second or two, so that a flood of
refusals waits for nothing and holds no connection. Of the same try by the same session or key there is one
row a minute, which says how many there were. Strangers leave no row: a team's trail is not theirs to fill.
What is about no team (the platform's staff's work, or what takes a session) is in the caller's own trail.
"""

import asyncio
import logging
from collections import Counter
from typing import Final

import msgspec

from domain import db
from domain.actor import Actor
from domain.events import Event, Resource
from domain.record import record

log = logging.getLogger("maycole.denials")

EVERY_S: Final = 1.0
AGAIN_AFTER_S: Final = 60.0
AT_MOST: Final = 1000
OF_A_USER: Final = 100  # of one user: the others want to be in their trails, too


class AccessDenied(Event, frozen=True, kw_only=True):
    """A member tried what they may not; `role` is None where no role decides."""

    type = "teams.access_denied"
    outcome = "denied"

    permission: str
    role: str | None
    times: int

    def resource(self) -> Resource:
        return Resource("permission", self.permission)

    def metadata(self) -> dict[str, str | int]:
        decided = {} if self.role is None else {"role": self.role}
        return {**decided, "times": self.times}


class _Tried(msgspec.Struct, frozen=True):
    """What counts as the same try."""

    team_id: str
    user_id: str
    by: str
    permission: str


class Denials:
    """What this process has refused of late and not yet written down; AT_MOST different tries."""

    def __init__(self) -> None:
        self._actors: dict[_Tried, tuple[Actor, str | None]] = {}
        self._times: Counter[_Tried] = Counter()
        self._of_user: Counter[str] = Counter()  # how many of _actors are whose
        self._written: dict[_Tried, float] = {}
        # Two at once would both find the same try unwritten.
        self._one_writes = asyncio.Lock()

    def note(self, actor: Actor, team_id: str, permission: str, role: str | None) -> None:
        """A member was refused. Whose right is looked at on behalf of others (an inviter's) tried nothing."""
        by = actor.key_id or actor.session_id
        if by is None:
            return
        tried = _Tried(team_id, actor.user, by, permission)
        if tried not in self._actors:
            if self._has_no_room_for(actor.user):
                log.warning("too many refusals to keep: one of %s is in no trail", actor.user_id)
                return
            self._actors[tried] = (actor, role)
            self._of_user[actor.user] += 1
        self._times[tried] += 1

    def _has_no_room_for(self, user_id: str) -> bool:
        return len(self._actors) >= AT_MOST or self._of_user[user_id] >= OF_A_USER

    def _forget(self, tried: _Tried) -> None:
        del self._actors[tried], self._times[tried]
        self._of_user[tried.user_id] -= 1
        if not self._of_user[tried.user_id]:
            del self._of_user[tried.user_id]

    async def run(self) -> None:
        """Write them down, for as long as the process lives."""
        while True:
            await asyncio.sleep(EVERY_S)
            await self.write_soon()

    async def write_soon(self) -> None:
        """Write down what is due, if the database answers."""
        try:
            await self.write()
        except db.UNREACHABLE as error:
            log.warning("refusals wait to be written: %s", type(error).__name__)

    async def write(self) -> None:
        """Write down what is due. Raises what is in db.UNREACHABLE; what was not written stays."""
        async with self._one_writes:
            await self._write()

    async def _write(self) -> None:
        at = asyncio.get_running_loop().time()
        self._written = {tried: when for tried, when in self._written.items() if at - when < AGAIN_AFTER_S}
        for tried in [tried for tried in self._actors if tried not in self._written]:
            actor, role = self._actors[tried]
            times = self._times[tried]
            event = AccessDenied(team_id=tried.team_id, permission=tried.permission, role=role, times=times)
            async with db.transaction():
                await record(actor, event)
            self._written[tried] = at
            self._times[tried] -= times
            if not self._times[tried]:
                self._forget(tried)


denials: Final = Denials()
