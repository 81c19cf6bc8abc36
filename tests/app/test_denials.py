"""Refusals in the trail: a member who tries what they may not leaves a row, a stranger none."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from domain.actor import Actor
from domain.teams.denials import OF_A_USER, Denials, denials
from tests.app.company import Company, problem
from tests.factories import Person
from tests.keys import new_key

pytestmark = pytest.mark.usefixtures("url")


async def rows(team: Company) -> list[dict[str, Any]]:
    await denials.write()
    answer = await team["owner"].get(f"/audit-logs?teamId={team.team}&action=teams.access_denied&limit=100")
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


async def tries(who: Person, team: Company, name: str = "Cup") -> int:
    return (await who.post("/inventory", {"name": name, "quantity": 1, "teamId": team.team})).status_code


async def test_of_the_same_try_there_is_one_row_a_minute_and_none_of_a_stranger(team: Company) -> None:
    viewer = team["viewer"]
    first = await viewer.post("/inventory", {"name": "Cup", "quantity": 1, "teamId": team.team})
    problem(first, 403, "forbidden")
    assert await asyncio.gather(*(tries(viewer, team) for _ in range(20))) == [403] * 20
    assert await tries(team["stranger"], team) == 404
    found = await rows(team)
    assert {row["userId"] for row in found} == {viewer.id}
    assert [(row["outcome"], row["resource"]) for row in found] == [("denied", "inventory:write")]
    assert found[0]["metadata"]["role"] == "viewer"
    assert 1 <= found[0]["metadata"]["times"] <= 21
    assert found[0]["sessionId"] == viewer.session_id
    problem(await viewer.get(f"/audit-logs?teamId={team.team}"), 403, "forbidden")
    assert {row["resource"] for row in await rows(team)} == {"inventory:write", "audit:read"}
    assert len(await rows(team)) == 2, "twenty more tries within the minute are counted, not told one by one"


async def test_what_a_key_may_not_is_told_with_the_key(team: Company) -> None:
    key = await new_key(team["member"], "inventory:read")
    body = {"name": "Cup", "quantity": 1, "teamId": team.team}
    refused = await team.api.call("POST", "/inventory", token=key["key"], json=body)
    problem(refused, 403, "missing_scope")
    [row] = [row for row in await rows(team) if row["keyId"] == key["id"]]
    assert (row["resource"], row["userId"]) == ("inventory:write", team["member"].id)


def test_one_who_tries_everything_does_not_keep_the_others_out_of_the_trail() -> None:
    kept = Denials()
    for nth in range(2 * OF_A_USER):
        kept.note(Actor(user_id="user_a", session_id="sess_a"), f"team_{nth}", "audit:read", "viewer")
    kept.note(Actor(user_id="user_b", session_id="sess_b"), "team_1", "audit:read", "viewer")
    by = Counter(tried.user_id for tried in kept._actors)
    assert by == {"user_a": OF_A_USER, "user_b": 1}


async def test_what_is_written_makes_room_for_more(team: Company) -> None:
    kept, viewer = Denials(), team["viewer"]
    actor = Actor(user_id=viewer.id, session_id=viewer.session_id)

    def try_everything(word: str) -> None:
        for nth in range(OF_A_USER + 1):
            kept.note(actor, team.team, f"{word}:{nth}", "viewer")

    for word, tries in (("first", OF_A_USER), ("second", OF_A_USER)):
        try_everything(word)
        kept.note(actor, team.team, f"{word}:0", "viewer")  # one of them once more, which takes no room
        assert len(kept._actors) == tries
        await kept.write()
        assert not kept._actors
    assert not kept._of_user
