"""Listeners hear of entries after COMMIT, never before, and of nothing that was undone."""

# ruff: noqa: PT012 - it is the end of a transaction that raises: the block around it is what is tested

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import asyncpg
import pytest

from app.config import Config
from domain import channels, db, streams
from domain.auth.model import LoginFailed
from domain.record import record
from domain.streams import Entry
from tests.domain.people import somebody


class Undo(Exception):
    """What a verb raises to roll back on purpose."""


class Ear:
    """A listener that looks, at the moment it is called and over another connection, what is committed."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self.channel = ""
        self.heard: list[Entry] = []
        self.visible: list[int] = []

    def __call__(self, entries: Sequence[Entry]) -> None:
        mine = [entry for entry in entries if entry.channel == self.channel]
        if mine:
            self.heard += mine
            self.visible.append(self.look(mine[-1].offset))

    def look(self, offset: int) -> int:
        """How many audit rows and entries another connection sees at this place."""

        async def ask() -> int:
            connection = await asyncpg.connect(self._database_url)
            try:
                found: int = await connection.fetchval(
                    """SELECT (SELECT count(*) FROM stream_entries WHERE channel = $1 AND "offset" = $3)
                            + (SELECT count(*) FROM audit_logs WHERE team_id = $2 AND seq = $3)""",
                    self.channel,
                    self.channel.removeprefix("audit:"),
                    offset,
                )
                return found
            finally:
                await connection.close()

        # A listener is called by the event loop and cannot wait for it.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, ask()).result()


@pytest.fixture
def ear(url: str, config: Config) -> Iterator[Ear]:
    assert config.database_url is not None
    listener = Ear(config.database_url)
    streams.listeners.append(listener)
    try:
        yield listener
    finally:
        streams.listeners.remove(listener)


async def test_when_a_listener_is_called_the_row_and_the_entry_are_committed(ear: Ear) -> None:
    ann = await somebody()
    team = ann.team(None)
    ear.channel = channels.audit(team)
    [head] = await streams.heads([ear.channel])

    async with db.transaction():
        await record(ann, LoginFailed(team_id=team, user_id=ann.user, reason="wrong_credentials", attempts=1))
        before = ear.look(head.offset + 1)
        assert ear.heard == []

    assert before == 0, "before COMMIT nobody sees them: the ear can tell the difference"
    assert [entry.offset for entry in ear.heard] == [head.offset + 1]
    assert ear.visible == [2]


async def test_listeners_hear_of_one_commit_at_once_and_in_order(ear: Ear) -> None:
    ann = await somebody()
    ear.channel = channels.audit(ann.team(None))
    async with db.transaction():
        async with db.transaction():
            await record(
                ann,
                LoginFailed(team_id=ann.team(None), user_id=ann.user, reason="wrong_credentials", attempts=1),
            )
        assert ear.heard == [], "the inner transaction is not the commit"
        await record(
            ann, LoginFailed(team_id=ann.team(None), user_id=ann.user, reason="wrong_credentials", attempts=1)
        )

    first, second = ear.heard
    assert second.offset == first.offset + 1
    assert len(ear.visible) == 1, "one commit, one call"
    assert ear.heard == await streams.read(ear.channel, first.offset - 1, limit=10)


async def test_listeners_hear_nothing_of_what_was_undone(ear: Ear) -> None:
    ann = await somebody()
    ear.channel = channels.audit(ann.team(None))

    with pytest.raises(Undo):
        async with db.transaction():
            await record(
                ann,
                LoginFailed(team_id=ann.team(None), user_id=ann.user, reason="wrong_credentials", attempts=1),
            )
            raise Undo
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        async with db.transaction() as unit:
            await record(
                ann,
                LoginFailed(team_id=ann.team(None), user_id=ann.user, reason="wrong_credentials", attempts=1),
            )
            await unit.connection.execute(
                "UPDATE users SET personal_team_id = 'team_nowhere' WHERE id = $1", ann.user
            )
    assert ear.heard == []

    async with db.transaction():
        await record(
            ann, LoginFailed(team_id=ann.team(None), user_id=ann.user, reason="wrong_credentials", attempts=1)
        )
    assert len(ear.heard) == 1, "and the next commit is heard: the ear is not deaf"
