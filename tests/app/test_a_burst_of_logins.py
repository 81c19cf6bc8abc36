"""A burst of logins: hashing waits for itself, and nothing else waits for it."""

import asyncio

from tests.app.signing_in import login
from tests.factories import Api, item
from tests.raw import Raw, raw

AT_ONCE = 40  # below what is refused as too many
WHILE_WAITING = 3


async def test_while_many_logins_hash_all_else_goes_on(api: Api, url: str) -> None:
    """No clock: what is asked while logins wait is answered while logins wait."""
    people = [await api.person() for _ in range(4)]
    ann = people[0]
    channel = f"inventory:{ann.personal_team_id}"
    async with raw(url, token=ann.token) as client:
        start = (await client.ask(subscribe={"channel": channel, "positioned": True}))["subscribe"]
        burst = [asyncio.create_task(login(api, people[nth % 4].email)) for nth in range(AT_ONCE)]
        made = 0
        while not all(task.done() for task in burst):
            assert (await api.call("GET", "/health/live")).status_code == 200
            await item(ann, name=f"Beans {made}")
            made += 1
            assert "history" in await client.ask(history={"channel": channel})
        offsets = await _offsets(client, channel, made)
        answers = await asyncio.gather(*burst)
    assert made >= WHILE_WAITING, "all of it while logins were still waiting"
    assert offsets == list(range(start.get("offset", 0) + 1, start.get("offset", 0) + 1 + made)), "in order"
    assert {answer.status_code for answer in answers} <= {200, 429}


async def _offsets(client: Raw, channel: str, count: int) -> list[int]:
    """The offsets of what was pushed, in the order in which it came."""

    def pushed() -> list[int]:
        return [
            push["pub"]["offset"]
            for push in client.pushes
            if push.get("channel") == channel and "pub" in push
        ]

    while len(pushed()) < count:
        await client.frame()
    return pushed()
