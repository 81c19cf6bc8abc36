"""Fifty requests with one key, on two processes at once: one effect, and one answer for all of them."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx

from app.config import Config
from domain import db
from tests.app.keyed import new_key, newcomer, register, replayed, told, with_key
from tests.factories import Api, Person, api_of
from tests.processes import running

TOGETHER = 25


async def all_of(ask: Callable[[Api], Awaitable[httpx.Response]], *apis: Api) -> list[httpx.Response]:
    """Everybody asks everywhere at once; whoever is told that it is being worked on asks once more."""
    answers = await asyncio.gather(*(ask(api) for api in apis for _ in range(TOGETHER)))
    done = [answer for answer in answers if answer.is_success]
    for answer in answers:
        if not answer.is_success:
            assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_key_in_use")
    assert sum(not replayed(answer) for answer in done) == 1, "one of them did it"
    return [*done, *[await ask(api) for api in apis]]


async def test_fifty_requests_with_one_key_on_two_processes_are_one(config: Config, api: Api) -> None:
    ann, key, body, other = await api.person("Ann"), new_key(), newcomer(), new_key()
    async with running(config) as process, api_of(process.url) as there:

        async def create(at: Api) -> httpx.Response:
            return await Person(**{**vars(ann), "api": at}).post(
                "/inventory", {"name": "Tea", "quantity": 1}, headers=with_key(key)
            )

        created = await all_of(create, api, there)
        joined = await all_of(lambda at: register(at, body, other), api, there)
    assert len({str(told(answer)) for answer in created}) == 1
    assert len((await ann.get("/inventory")).json()["data"]) == 1
    assert len({str(told(answer)) for answer in joined}) == 1
    sql = "SELECT count(*) FROM users u JOIN user_sessions s ON s.user_id = u.id WHERE u.email = $1"
    assert await db.fetchval(sql, body["email"]) == 1
