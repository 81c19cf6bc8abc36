"""What ended long ago is forgotten, and nothing else is."""

import asyncio
from datetime import timedelta

import asyncpg

from domain import db
from domain.auth import enrolment, one_time, sweeping
from domain.clock import now
from tests.app.second_factors import enrol
from tests.app.signing_in import login, signed_in
from tests.factories import Api


async def test_sessions_that_ended_long_ago_are_forgotten(api: Api) -> None:
    ann = await api.person()
    ended, expired, recent = [(await login(api, ann.email)).json()["data"] for _ in range(3)]
    long_ago = now() - sweeping.FORGOTTEN_AFTER - timedelta(hours=1)
    for column, at, session in (
        ("revoked_at", long_ago, ended),
        ("expires_at", long_ago, expired),
        ("revoked_at", now(), recent),
    ):
        await db.execute(
            f"UPDATE user_sessions SET {column} = $2 WHERE id = $1",  # noqa: S608 - column names of ours
            session["sessionId"],
            at,
        )
    await sweeping.sweep_sessions()
    rows = await db.fetch("SELECT id FROM user_sessions WHERE user_id = $1", ann.id)
    assert {row["id"] for row in rows} == {ann.session_id, recent["sessionId"]}
    assert await signed_in(api, ann.token)


async def test_secrets_of_apps_that_nobody_confirmed_in_time_are_forgotten(api: Api) -> None:
    people = [await api.person() for _ in range(3)]
    confirmed, late, early = people
    await enrol(confirmed)
    for person in (late, early):
        assert (await person.post("/auth/mfa/totp")).status_code == 200
    for person in (confirmed, late):
        await db.execute(
            "UPDATE mfa_factors SET created_at = created_at - $2::interval WHERE user_id = $1",
            person.id,
            enrolment.UNCONFIRMED_FOR,
        )
    await sweeping.sweep_unconfirmed_factors()
    left = "SELECT user_id FROM mfa_factors WHERE user_id = ANY($1)"
    rows = await db.fetch(left, [person.id for person in people])
    assert {row["user_id"] for row in rows} == {confirmed.id, early.id}


async def test_tokens_that_ran_out_are_forgotten(api: Api) -> None:
    ann = await api.person()
    kept = await one_time.issue("mfa", lasts=timedelta(minutes=5), user_id=ann.id)
    await one_time.issue("passkey_login", lasts=-sweeping.TOKENS_FORGOTTEN_AFTER - timedelta(hours=1))
    gone = "SELECT count(*) FROM one_time_tokens WHERE expires_at < $1"
    long_ago = now() - sweeping.TOKENS_FORGOTTEN_AFTER
    assert await db.fetchval(gone, long_ago) > 0
    await sweeping.sweep_one_time_tokens()
    assert await db.fetchval(gone, long_ago) == 0
    assert await one_time.find("mfa", kept) is not None


async def test_sweeping_waits_for_nobody_who_holds_a_row(api: Api, outside: asyncpg.Connection) -> None:
    held, free = [await api.person() for _ in range(2)]
    for person in (held, free):
        await db.execute(
            "UPDATE user_sessions SET revoked_at = $2 WHERE user_id = $1",
            person.id,
            now() - sweeping.FORGOTTEN_AFTER - timedelta(hours=1),
        )
    left = "SELECT user_id FROM user_sessions WHERE user_id = ANY($1)"
    async with outside.transaction():
        await outside.execute("SELECT FROM user_sessions WHERE user_id = $1 FOR UPDATE", held.id)
        async with asyncio.timeout(5):
            await sweeping.sweep_sessions()
        rows = await db.fetch(left, [held.id, free.id])
        assert [row["user_id"] for row in rows] == [held.id]
    await sweeping.sweep_sessions()
    assert await db.fetch(left, [held.id, free.id]) == []
