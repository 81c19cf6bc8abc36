"""Exports that are under way: whoever loses the right to them gets no more, and nobody holds every place."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from domain import db
from domain.audit_logs import export as exports
from tests.app.company import problem
from tests.factories import Api, Person
from tests.keys import new_key
from tests.nodes import until


@dataclass
class Held:
    """An export that has sent its first row and waits for `go`."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)

    async def is_under_way(self, export: asyncio.Task[httpx.Response]) -> None:
        """Until it is; raises where it ended before."""
        reached = asyncio.create_task(self.reached.wait())
        await asyncio.wait([reached, export], return_when=asyncio.FIRST_COMPLETED)
        reached.cancel()
        assert not export.done(), export.result().text


@pytest.fixture
async def held(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Held]:
    """Each row is a part, and rights are asked before each."""
    held, stream = Held(), db.stream

    async def halting(*given: Any) -> AsyncIterator[Any]:
        async with aclosing(stream(*given)) as rows:
            is_first = True
            async for row in rows:
                if not is_first:
                    held.reached.set()
                    await held.go.wait()
                is_first = False
                yield row

    monkeypatch.setattr(db, "stream", halting)
    monkeypatch.setattr(exports, "ROWS_IN_A_PART", 1)
    monkeypatch.setattr(exports, "ASK_AGAIN_AFTER_S", 0.0)
    yield held
    held.go.set()
    await until(lambda: not exports._running)


def export_of(api: Api, team: str, token: str) -> asyncio.Task[httpx.Response]:
    return asyncio.create_task(
        api.call("GET", f"/audit-logs?teamId={team}&export=true&format=ndjson", token=token)
    )


async def ended(team: str) -> list[tuple[str, int]]:
    rows = await db.fetch(
        """SELECT action, (metadata ->> 'count')::int AS count FROM audit_logs
           WHERE team_id = $1 AND action IN ('audit_logs.exported', 'audit_logs.export_broken')""",
        team,
    )
    return [(row["action"], row["count"]) for row in rows]


async def removed(ann: Person, bob: Person, team: str) -> httpx.Response:
    return await ann.delete(f"/teams/{team}/members/{bob.id}")


async def demoted(ann: Person, bob: Person, team: str) -> httpx.Response:
    return await ann.put(f"/teams/{team}/members/{bob.id}", {"role": "viewer"})


async def logged_out(ann: Person, bob: Person, team: str) -> httpx.Response:
    return await bob.post("/auth/logout")


async def team_deleted(ann: Person, bob: Person, team: str) -> httpx.Response:
    return await ann.delete(f"/teams/{team}")


@pytest.mark.parametrize("happens", [removed, demoted, logged_out, team_deleted])
async def test_whoever_may_not_read_the_trail_any_more_gets_no_more_of_it(
    api: Api, held: Held, happens: Any
) -> None:
    ann, bob = await api.person("Ann"), await api.person("Bob")
    team = await api.team(ann, admin=bob)
    export = export_of(api, team, bob.token)
    await held.is_under_way(export)
    assert (await happens(ann, bob, team)).status_code < 300
    held.go.set()
    with pytest.raises(httpx.RemoteProtocolError):
        await export
    await until(lambda: ended(team))
    assert await ended(team) == [("audit_logs.export_broken", 1)]


@pytest.mark.parametrize("is_revoked", [False, True])
async def test_a_key_that_is_revoked_or_may_less_gets_no_more_of_it(
    api: Api, held: Held, is_revoked: bool
) -> None:
    ann = await api.person()
    team = await api.team(ann)
    key = await new_key(ann, "audit:read", "team:read", teamId=team)
    export = export_of(api, team, key["key"])
    await held.is_under_way(export)
    at = f"/auth/api-keys/{key['id']}"
    answer = await (ann.delete(at) if is_revoked else ann.patch(at, {"scopes": ["team:read"]}))
    assert answer.status_code < 300, answer.text
    held.go.set()
    with pytest.raises(httpx.RemoteProtocolError):
        await export
    await until(lambda: ended(team))
    assert await ended(team) == [("audit_logs.export_broken", 1)]


async def test_whoever_may_still_read_it_gets_the_whole(api: Api, held: Held) -> None:
    ann, bob = await api.person("Ann"), await api.person("Bob")
    team = await api.team(ann, admin=bob)
    export = export_of(api, team, bob.token)
    await held.is_under_way(export)
    assert (await ann.put(f"/teams/{team}/members/{bob.id}", {"role": "owner"})).status_code == 200
    held.go.set()
    lines = (await export).text.splitlines()
    assert len(lines) > 1
    assert await ended(team) == [("audit_logs.exported", len(lines))]


async def test_one_of_each_user_and_of_each_team_at_once(api: Api, held: Held) -> None:
    ann, bob, cid = [await api.person(name) for name in ("Ann", "Bob", "Cid")]
    team = await api.team(ann, admin=bob)
    export = export_of(api, team, bob.token)
    await held.is_under_way(export)
    # Bob has one, be it of another team; that team has one, be it of somebody else.
    for caller, of in ((bob, bob.personal_team_id), (ann, team)):
        answer = await export_of(api, of, caller.token)
        problem(answer, 429, "too_many_exports")
        assert answer.headers["Retry-After"] == str(exports.TRY_AGAIN_AFTER_S)
    held.go.set()
    assert (await export_of(api, cid.personal_team_id, cid.token)).status_code == 200
    assert (await export).status_code == 200
    assert (await export_of(api, team, ann.token)).status_code == 200
