"""What Postgres complains of is told, and the values that it complains of are not: errors end in logs."""

import logging
import traceback

import asyncpg
import pytest

from domain import db
from domain.auth.tables import SignInFailures
from domain.clock import now
from domain.users import service as users
from tests.app.company import problem
from tests.factories import Api

CANARY = "canary-of-the-logs"
KEPT = "INSERT INTO sign_in_failures (key, failures, last_at) VALUES ($1, 0, now())"

pytestmark = pytest.mark.usefixtures("url")


@pytest.fixture(autouse=True)
async def kept() -> None:
    """A row with the canary for its key, which a second one is not to have."""
    await db.execute(f"{KEPT} ON CONFLICT DO NOTHING", CANARY)


async def plainly() -> None:
    await db.execute(KEPT, CANARY)


async def in_a_transaction() -> None:
    async with db.transaction():
        await db.execute(KEPT, CANARY)


async def on_the_connection_itself() -> None:
    async with db.transaction() as unit:
        await unit.connection.execute(KEPT, CANARY)


async def by_piccolo() -> None:
    await SignInFailures.insert(SignInFailures(key=CANARY, failures=0, last_at=now()))


async def at_the_commit() -> None:
    async with db.transaction():
        await db.execute(
            """INSERT INTO users
                   (id, email, name, personal_team_id, is_staff, version, created_at, updated_at)
               VALUES ('user_x', 'canary@example.org', 'Ann', $1, false, 1, now(), now())""",
            CANARY,
        )


async def as_another_type() -> None:
    await db.execute("SELECT $1::int", CANARY)


@pytest.mark.parametrize(
    "fails", [plainly, in_a_transaction, on_the_connection_itself, by_piccolo, at_the_commit, as_another_type]
)
async def test_no_value_is_in_what_is_raised(fails: object) -> None:
    with pytest.raises(asyncpg.PostgresError) as raised:
        await fails()  # type: ignore[operator]
    said = "".join(traceback.format_exception_only(raised.value))
    assert CANARY not in said
    assert any(word in said for word in ("constraint", "query argument $1")), "but what it was"


async def test_what_asyncpg_raises_by_itself_has_the_value(url: str) -> None:
    """Else there would be nothing to keep out."""
    assert db.engine.pool is not None
    async with db.engine.pool.acquire() as connection:
        with pytest.raises(asyncpg.UniqueViolationError, match=CANARY):
            await connection.execute(KEPT, CANARY)
        with pytest.raises(asyncpg.DataError, match=CANARY):
            await connection.execute("SELECT $1::int", CANARY)


@pytest.mark.parametrize("fails", [in_a_transaction, as_another_type])
async def test_a_bug_is_logged_without_the_value(
    api: Api, fails: object, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ann = await api.person()
    monkeypatch.setattr(users, "me", lambda _: fails())  # type: ignore[operator]
    with caplog.at_level(logging.ERROR):
        problem(await ann.get("/users/me"), 500, "internal_error")
    assert "Traceback" in caplog.text
    assert ("UniqueViolationError" in caplog.text) or ("query argument $1" in caplog.text)
    assert CANARY not in caplog.text
