"""Guessing codes: counted, made to wait, and one at a time however many try at once."""

import asyncio

from domain import db
from domain.auth.throttle import FACTORS
from tests.app.company import problem
from tests.app.second_factors import (
    App,
    enrol,
    login,
    mfa_token,
    verify,
    waited,
)
from tests.factories import Api


async def test_of_twenty_who_show_one_code_at_once_one_gets_in(api: Api) -> None:
    ann = await api.person()
    app = await enrol(ann)
    for code in (app.code(), app.recovery_codes[0]):
        answers = await asyncio.gather(*(login(ann, totp=code) for _ in range(20)))
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses[0] == 200
        assert set(statuses[1:]) <= {401, 429}
        await db.execute("DELETE FROM sign_in_failures WHERE key = $1", f"factors:{ann.id}")
    assert (await ann.get("/auth/mfa")).json()["data"]["recoveryCodesLeft"] == 9


async def test_of_twenty_who_come_with_one_token_at_once_one_gets_in(api: Api) -> None:
    ann = await api.person()
    app = await enrol(ann)
    token = await mfa_token(ann)
    codes = [app.code(), *app.recovery_codes]
    answers = await asyncio.gather(*(verify(api, token, code=codes[n % 11]) for n in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] + [401] * 19
    assert {answer.json().get("code") for answer in answers} == {None, "invalid_mfa_token"}


async def test_guessing_codes_is_stopped_and_the_wait_grows(api: Api) -> None:
    ann = await api.person()
    app = await enrol(ann)
    for _ in range(FACTORS.free):
        problem(await login(ann, totp=app.wrong()), 401, "wrong_code")
    waits = []
    for code in (app.wrong(), app.code(), app.recovery_codes[0]):
        stopped = await login(ann, totp=code)
        waits.append(problem(stopped, 429, "too_many_attempts")["retryAfter"])
        assert stopped.headers["Retry-After"] == str(waits[-1])
    assert all(0 < wait <= FACTORS.first_s for wait in waits)
    problem(await verify(api, await mfa_token(ann), code=app.code()), 429, "too_many_attempts")
    problem(await ann.post("/auth/mfa/step-up", {"code": app.code()}), 429, "too_many_attempts")

    await waited(ann, 1)
    problem(await login(ann, totp=app.wrong()), 401, "wrong_code")
    again = problem(await login(ann, totp=app.code()), 429, "too_many_attempts")
    assert again["retryAfter"] > FACTORS.first_s, "longer than before"
    for _ in range(8):
        await waited(ann, 59)
        await login(ann, totp=app.wrong())
    worst = problem(await login(ann, totp=app.code()), 429, "too_many_attempts")["retryAfter"]
    assert FACTORS.first_s * 8 < worst <= FACTORS.cap_s
    await waited(ann, 60)
    assert (await login(ann, totp=app.code())).status_code == 200
    problem(await login(ann, totp=app.wrong()), 401, "wrong_code")


async def test_guesses_at_the_code_that_confirms_are_counted_with_the_rest(api: Api) -> None:
    ann = await api.person()
    secret = (await ann.post("/auth/mfa/totp")).json()["data"]["secret"]
    app = App(secret)
    answers = await asyncio.gather(
        *(ann.post("/auth/mfa/totp/confirm", {"code": app.wrong()}) for _ in range(12))
    )
    codes = [answer.json()["code"] for answer in answers]
    assert codes.count("wrong_code") == FACTORS.free
    assert codes.count("too_many_attempts") == 12 - FACTORS.free
    stopped = await ann.post("/auth/mfa/totp/confirm", {"code": app.code()})
    assert problem(stopped, 429, "too_many_attempts")["retryAfter"] == FACTORS.first_s
    assert stopped.headers["Retry-After"] == str(FACTORS.first_s)
    another = App((await ann.post("/auth/mfa/totp")).json()["data"]["secret"])
    answer = await ann.post("/auth/mfa/totp/confirm", {"code": another.code()})
    problem(answer, 429, "too_many_attempts")  # another secret is no way round
    await waited(ann, 1)
    confirmed = await ann.post("/auth/mfa/totp/confirm", {"code": another.code()})
    assert confirmed.status_code == 200
    for _ in range(FACTORS.free):
        problem(await login(ann, totp=another.wrong()), 401, "wrong_code")
    problem(await login(ann, totp=another.wrong()), 429, "too_many_attempts")


async def test_failures_are_forgotten_with_time(api: Api) -> None:
    ann = await api.person()
    app = await enrol(ann)
    for _ in range(FACTORS.free):
        await login(ann, totp=app.wrong())
    problem(await login(ann, totp=app.wrong()), 429, "too_many_attempts")
    await waited(ann, 3 * 60)
    for _ in range(3):
        problem(await login(ann, totp=app.wrong()), 401, "wrong_code")
    problem(await login(ann, totp=app.wrong()), 429, "too_many_attempts")


async def test_guesses_that_come_all_at_once_are_counted_one_by_one(api: Api) -> None:
    ann = await api.person()
    app = await enrol(ann)
    answers = await asyncio.gather(*(login(ann, totp=app.wrong()) for _ in range(20)))
    codes = [answer.json()["code"] for answer in answers]
    assert codes.count("wrong_code") == FACTORS.free
    assert codes.count("too_many_attempts") == 20 - FACTORS.free
