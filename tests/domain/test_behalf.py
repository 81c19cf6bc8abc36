"""A request's id goes along: into what its jobs log and into the audit rows that they write."""

import asyncio
import secrets

import msgspec
import pytest

from domain import behalf, db, jobs
from domain.actor import Actor
from domain.record import record
from tests.domain.people import somebody, team_of
from tests.domain.test_record import Happened

WITHIN_S = 20


class Word(msgspec.Struct, frozen=True):
    word: str


done: dict[str, str | None] = {}
ECHO = jobs.Job("test.echo", Word)


@ECHO.handler
async def echo(given: Word) -> None:
    done[given.word] = behalf.request_id()


async def until_done(word: str) -> str | None:
    async with asyncio.timeout(WITHIN_S):
        while word not in done:
            await asyncio.sleep(0.02)
    return done[word]


@pytest.mark.usefixtures("url")
@pytest.mark.parametrize("request_id", ["req_of_somebody", None])
async def test_a_job_is_done_on_behalf_of_the_request_that_wanted_it(request_id: str | None) -> None:
    word = secrets.token_hex(4)
    with behalf.working_for(request_id):
        async with db.transaction():
            await jobs.enqueue(ECHO, Word(word))
    assert await until_done(word) == request_id
    assert behalf.request_id() is None


@pytest.mark.usefixtures("url")
@pytest.mark.parametrize(("own", "shown"), [(None, "req_it_works_for"), ("req_its_own", "req_its_own")])
async def test_an_audit_row_has_the_id_of_the_request_that_it_was_written_for(
    own: str | None, shown: str
) -> None:
    ann = await somebody()
    team_id = await team_of(ann)
    word = secrets.token_hex(4)
    actor = Actor(user_id=ann.user_id, request_id=own)
    with behalf.working_for("req_it_works_for"):
        async with db.transaction():
            await record(actor, Happened(team_id=team_id, word=word))
    assert await db.fetchval("SELECT request_id FROM audit_logs WHERE resource = $1", word) == shown
