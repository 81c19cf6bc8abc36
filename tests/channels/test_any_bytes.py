"""Any byte sequence that a client sends ends in a right answer or a right close code, never in a traceback.

Longer: `python -m tests.conformance fuzz --seconds 600`.
"""

import logging
from collections.abc import AsyncIterator, Iterator
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bare import TEXT, bare, closed_with, framed
from tests.factories import Api, Person
from tests.strange import DIALECTS, Conversation, Dialect, Wire, conversations, wires
from tests.wellbehaved import Bystander, bystander, converse, wired

in_each_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)


class Complaints(logging.Handler):
    """Errors that were logged."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(f"{record.name}: {record.getMessage()} {record.exc_info or ''}")


@pytest.fixture(scope="module")
def complaints() -> Iterator[Complaints]:
    heard = Complaints()
    logging.getLogger().addHandler(heard)
    yield heard
    logging.getLogger().removeHandler(heard)


@pytest.fixture(scope="module")
async def other(url: str, api: Api) -> AsyncIterator[Bystander]:
    async with bystander(url, api) as beside:
        yield beside


@pytest.fixture(scope="module")
async def eve(api: Api) -> Person:
    return await api.person("Eve")


# Once, and not for each example: to put a strategy together takes as long as to draw from it.
@cache
def _said_by(user_id: str, team_id: str, dialect: Dialect) -> st.SearchStrategy[Conversation]:
    of_team = [f"{kind}:{team_id}" for kind in ("inventory", "team", "audit", "presence")]
    return conversations(dialect, [*of_team, f"user:{user_id}", f"notifications:{user_id}"])


@cache
def _sent(dialect: Dialect) -> st.SearchStrategy[list[Wire]]:
    payload = conversations(dialect, []).map(lambda said: said.messages[0][1])
    return st.lists(wires(payload), min_size=20, max_size=30)


@in_each_dialect
@settings(max_examples=150)
@given(data=st.data())
async def test_strange_messages_are_answered_or_end_their_connection_and_no_other(
    url: str, eve: Person, other: Bystander, complaints: Complaints, dialect: Dialect, data: st.DataObject
) -> None:
    await converse(url, eve.token, dialect, data.draw(_said_by(eve.id, eve.personal_team_id, dialect)))
    await other.still_served()
    assert complaints.said == []


@in_each_dialect
@settings(max_examples=6)
@given(data=st.data())
async def test_strange_frames_end_their_connection_and_no_other(
    url: str, other: Bystander, complaints: Complaints, dialect: Dialect, data: st.DataObject
) -> None:
    await wired(url, dialect, data.draw(_sent(dialect)))
    await other.still_served()
    assert complaints.said == []


@pytest.mark.parametrize(
    ("data", "code"),
    [(framed(TEXT, b"\x80"), 1007), (framed(3, b""), 1002), (framed(0, b"x"), 1002)],
    ids=["broken text", "unknown opcode", "continues nothing"],
)
async def test_broken_frames_are_answered_with_what_is_wrong_with_them(
    url: str, data: bytes, code: int
) -> None:
    async with bare(url) as socket:
        await socket.raw(data)
        assert closed_with(await socket.frame()).code == code


def test_errors_are_heard(complaints: Complaints) -> None:
    logging.getLogger("maycole.anything").error("%s failed", "it")
    assert [said.split(":")[0] for said in complaints.said] == ["maycole.anything"]
    complaints.said.clear()
