"""Whatever meets at one account takes its locks in one order: nobody ends in a deadlock, which is a 503."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import asyncpg
import httpx
import pytest

from app.config import Config
from domain import db
from domain.auth import magic_link, one_time
from tests.app.second_factors import App, add_passkey, enrol, mfa_token, verify
from tests.factories import Api, Person

Ask = Callable[[], Awaitable[httpx.Response]]

FACTOR = "SELECT FROM mfa_factors WHERE user_id = $1 FOR UPDATE"
PASSKEY = "SELECT FROM passkeys WHERE user_id = $1 FOR UPDATE"
SESSION = "SELECT FROM user_sessions WHERE user_id = $1 FOR UPDATE"
TOKEN = "SELECT FROM one_time_tokens WHERE user_id = $1 AND purpose = 'mfa' FOR UPDATE"
CHALLENGE = "SELECT FROM one_time_tokens WHERE user_id = $1 AND purpose = 'passkey_step_up' FOR UPDATE"


async def meet(config: Config, person: Person, held: str, first: Ask, second: Ask) -> list[int]:
    """The statuses of both, which wait in this order for a row that somebody else has, then go on."""
    connection = await asyncpg.connect(config.database_url)
    try:
        holding = connection.transaction()
        await holding.start()
        await connection.execute(held, person.id)
        asked = []
        for nth, ask in enumerate((first, second), 1):
            asked.append(asyncio.ensure_future(ask()))
            await _waiting(nth, asked)
        await holding.rollback()
        return [answer.status_code for answer in await asyncio.gather(*asked)]
    finally:
        await connection.close()


async def _waiting(count: int, asked: list[asyncio.Future[httpx.Response]]) -> None:
    """Until so many wait for a lock; who answers meanwhile had nothing to wait for."""
    waiting = 0
    while waiting < count:
        assert not any(one.done() for one in asked), [one.result().text for one in asked if one.done()]
        await asyncio.sleep(0.01)
        async with db.maintenance():  # what others wait for is not the application's to see
            waiting = await db.fetchval(
                """SELECT count(*) FROM pg_stat_activity
                   WHERE wait_event_type = 'Lock' AND datname = current_database()"""
            )


async def taken_over(person: Person) -> Ask:
    """Somebody comes by a link to the address, which nobody had confirmed: all that was set up goes."""
    email = await db.fetchval("SELECT email FROM users WHERE id = $1", person.id)
    async with db.transaction():
        token = await one_time.issue(
            magic_link.PURPOSE, lasts=timedelta(minutes=1), user_id=person.id, email=email
        )
    return lambda: person.api.call("POST", "/auth/magic-link/consume", json={"token": token})


async def second_step(person: Person, app: App) -> Ask:
    token = await mfa_token(person)
    return lambda: verify(person.api, token, code=app.code())


async def step_up(person: Person, app: App) -> Ask:
    return lambda: person.post("/auth/mfa/step-up", {"code": app.code()})


@pytest.mark.parametrize("shown", [second_step, step_up])
@pytest.mark.parametrize("turned", [False, True], ids=["code first", "link first"])
async def test_a_code_and_a_taking_over_of_the_account(
    api: Api, config: Config, shown: Callable[[Person, App], Awaitable[Ask]], turned: bool
) -> None:
    for held in (FACTOR, TOKEN if shown is second_step else SESSION):
        ann = await api.person()
        app = await enrol(ann)
        both = [await shown(ann, app), await taken_over(ann)]
        statuses = await meet(config, ann, held, *(reversed(both) if turned else both))
        assert max(statuses) < 500, (held, statuses)
        assert not await db.fetchval("SELECT count(*) FROM mfa_factors WHERE user_id = $1", ann.id)


@pytest.mark.parametrize("turned", [False, True], ids=["code first", "link first"])
async def test_confirming_an_app_and_a_taking_over_of_the_account(
    api: Api, config: Config, turned: bool
) -> None:
    for held in (FACTOR, SESSION):
        ann = await api.person()
        app = App((await ann.post("/auth/mfa/totp")).json()["data"]["secret"])
        both = [
            lambda: ann.post("/auth/mfa/totp/confirm", {"code": app.code()}),  # noqa: B023 - asked in this round
            await taken_over(ann),
        ]
        statuses = await meet(config, ann, held, *(reversed(both) if turned else both))
        assert max(statuses) < 500, (held, statuses)
        assert not await db.fetchval("SELECT count(*) FROM mfa_factors WHERE user_id = $1", ann.id)


@pytest.mark.parametrize("turned", [False, True], ids=["passkey first", "end first"])
async def test_a_passkey_and_the_end_of_the_account(api: Api, config: Config, turned: bool) -> None:
    for held in (PASSKEY, CHALLENGE, SESSION):
        ann = await api.person()
        passkey, _ = await add_passkey(ann)
        options = (await ann.post("/auth/mfa/step-up/options")).json()["data"]["publicKey"]
        shown = {"credential": passkey.get(options)}
        both = [
            lambda: ann.post("/auth/mfa/step-up", shown),  # noqa: B023 - asked in this round
            lambda: ann.delete("/users/me"),  # noqa: B023 - the same
        ]
        statuses = await meet(config, ann, held, *(reversed(both) if turned else both))
        assert max(statuses) < 500, (held, statuses)


async def test_many_of_them_at_once(api: Api) -> None:
    for nth in range(12):
        ann = await api.person()
        app = await enrol(ann)
        all_of_them = [
            await second_step(ann, app),
            await taken_over(ann),
            await step_up(ann, app),
            await second_step(ann, app),
        ]
        if nth % 2:
            all_of_them.reverse()
        answers = await asyncio.gather(*(ask() for ask in all_of_them))
        assert max(answer.status_code for answer in answers) < 500, [answer.text for answer in answers]
