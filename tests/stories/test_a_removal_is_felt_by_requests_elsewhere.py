"""What one process remembers of somebody's role, another one's commit ends."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import pytest

from app.config import Config
from channels.bus import Bus
from tests.factories import Api, Person, api_of, item
from tests.processes import running

ASKED_AT_MOST = 200  # one every 5 ms or so: the memory of a role lasts 200 ms


async def until_refused(ask: Callable[[], Awaitable[httpx.Response]], status: int) -> int:
    """How often it was still answered; it has to end."""
    for answered in range(ASKED_AT_MOST):
        answer = await ask()
        if answer.status_code == status:
            return answered
        assert answer.status_code == 200, answer.text
        await asyncio.sleep(0.005)
    raise AssertionError("it is still answered")


async def test_who_is_removed_or_demoted_here_is_refused_there(config: Config) -> None:
    async with (
        running(config) as here,
        running(config) as there,
        api_of(here.url) as api,
        api_of(there.url) as elsewhere,
    ):
        ann, bob = await api.person("Ann"), await api.person("Bob")
        team = await api.team(ann, viewer=bob)
        thing, away = await item(ann, team), Person(**{**vars(bob), "api": elsewhere})
        members = f"/teams/{team}/members/{bob.id}"
        await ann.post(f"/teams/{team}/roles", {"name": "auditor", "permissions": ["audit:read"]})
        await ann.put(members, {"role": "auditor"})
        trail, view = f"/audit-logs?teamId={team}", f"/inventory/{thing['id']}"

        async def answered(path: str) -> None:
            assert (await away.get(path)).status_code == 200, "a yes is felt at once: no is not remembered"

        await answered(trail)
        assert (await ann.put(f"/teams/{team}/roles/auditor", {"permissions": ["inventory:read"]})).is_success
        await until_refused(lambda: away.get(trail), 403)
        await answered(view)
        assert (await ann.delete(members)).status_code == 204
        await until_refused(lambda: away.get(view), 404)
        refused = await away.post(f"{view}/adjust", {"delta": 1, "reason": "late"})
        assert refused.status_code == 404, "a change asks the database, whatever is remembered"


async def test_where_nobody_says_it_the_memory_ends_by_itself(
    config: Config, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a process dies between COMMIT and what it has to say, or Redis is away."""
    monkeypatch.setattr(Bus, "announce_rights", lambda bus, user_ids: None)
    async with running(config) as there, api_of(there.url) as elsewhere:
        ann, bob = await api.person("Ann"), await api.person("Bob")
        team = await api.team(ann, viewer=bob)
        away = Person(**{**vars(bob), "api": elsewhere})
        assert (await away.get(f"/teams/{team}")).status_code == 200
        assert (await ann.delete(f"/teams/{team}/members/{bob.id}")).status_code == 204
        await until_refused(lambda: away.get(f"/teams/{team}"), 404)
