"""An issuer that is slow to answer is asked once, however many people want to sign in with it."""

import asyncio

import pytest

from app.adapters import oauth_http
from app.adapters.in_flight import InFlight
from domain.errors import Faulty
from tests.doubles.asgi import Answer, Asked
from tests.doubles.world import World

DISCOVERY = "/.well-known/openid-configuration"
PEOPLE = 20
WITHIN_S = 10


async def test_all_who_wait_for_it_fail_together_and_the_next_one_asks_again(here: World) -> None:
    asked, over = asyncio.Event(), asyncio.Event()

    async def slow(request: Asked) -> Answer:
        asked.set()
        await over.wait()
        return Answer({"error": "server_error"}, 500)

    here.google.instead[DISCOVERY] = slow
    issuer = here.served.app.state.oauth.find("google")
    first, *others = [asyncio.create_task(issuer.ready()) for _ in range(PEOPLE)]
    async with asyncio.timeout(WITHIN_S):
        await asked.wait()
        # Whose request it was has gone away: it is that of the others still.
        first.cancel()
        over.set()
        ends = await asyncio.gather(first, *others, return_exceptions=True)

    assert [type(end) for end in ends] == [asyncio.CancelledError, *[Faulty] * len(others)]
    tries = oauth_http.POLICY.tries
    assert here.google.asked[DISCOVERY] == tries, "one call, tried again"
    here.google.instead.clear()
    await asyncio.gather(*(issuer.ready() for _ in range(PEOPLE)))
    assert here.google.asked[DISCOVERY] == tries + 1


async def test_a_call_goes_on_for_those_who_come_later_and_is_over_when_it_is_stopped() -> None:
    calls: InFlight[int] = InFlight()
    began, over = 0, asyncio.Event()

    async def call() -> int:
        nonlocal began
        began += 1
        await over.wait()
        return began

    gone = asyncio.create_task(calls.join(call))
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert calls.is_under_way
    late = [asyncio.create_task(calls.join(call)) for _ in range(3)]
    await asyncio.sleep(0)
    over.set()
    assert await asyncio.gather(*late) == [1, 1, 1]

    over.clear()
    last = asyncio.create_task(calls.join(call))
    await asyncio.sleep(0)
    assert calls.is_under_way
    await calls.stop()
    with pytest.raises(asyncio.CancelledError):
        await last
    assert not calls.is_under_way
