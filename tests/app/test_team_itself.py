"""The team itself: renamed, its slug changed, its metadata kept, under If-Match."""

import asyncio
from typing import Any

import pytest

from domain.teams.model import METADATA_BYTES_MAX
from tests.app.company import Company, problem
from tests.factories import Api, Person
from tests.keys import by, new_key


async def read(person: Person, team: str) -> dict[str, Any]:
    answer = await person.get(f"/teams/{team}")
    assert answer.status_code == 200, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


async def test_a_team_is_renamed_and_keeps_what_is_left_out(api: Api) -> None:
    ann = await api.person()
    team = await api.team(ann)
    before = await read(ann, team)
    assert (before["metadata"], before["deletedAt"]) == ({}, None)
    changed = await ann.put(f"/teams/{team}", {"name": "Tea room", "metadata": {"floor": [1, {"b": None}]}})
    assert changed.status_code == 200, changed.text
    after = changed.json()["data"]
    assert (after["name"], after["slug"], after["version"]) == ("Tea room", before["slug"], 2)
    assert changed.headers["ETag"] == '"2"'
    assert f"team:{team}@" in changed.headers["X-Stream-Position"]
    await ann.put(f"/teams/{team}", {"name": "Tea house"})
    assert (await read(ann, team))["metadata"] == {"floor": [1, {"b": None}]}
    await ann.put(f"/teams/{team}", {"name": "Tea house", "metadata": {}})
    assert (await read(ann, team))["metadata"] == {}
    rows = (await ann.get(f"/audit-logs?teamId={team}&action=teams.changed")).json()["data"]
    assert rows[-1]["changes"] == {
        "name": {"before": "Coffee corner", "after": "Tea room"},
        "metadata": {"before": {}, "after": {"floor": [1, {"b": None}]}},
    }


async def test_what_changes_nothing_says_nothing(api: Api) -> None:
    ann = await api.person()
    team = await api.team(ann)
    same = await ann.put(f"/teams/{team}", {"name": "Coffee corner"})
    assert (same.status_code, same.headers["ETag"]) == (200, '"1"')
    assert "X-Stream-Position" not in same.headers
    truth = await ann.put(f"/teams/{team}", {"name": "Coffee corner", "metadata": {"open": True}})
    one = await ann.put(f"/teams/{team}", {"name": "Coffee corner", "metadata": {"open": 1}})
    assert (truth.json()["data"]["version"], one.json()["data"]["version"]) == (2, 3), "1 is not true"


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_an_old_version_is_refused_with_the_present_one(api: Api, method: str) -> None:
    ann = await api.person()
    team = await api.team(ann)
    await ann.put(f"/teams/{team}", {"name": "Tea room"})
    old = {"headers": {"If-Match": '"1"'}}
    body = {"json": {"name": "Mine"}} if method == "PUT" else {}
    stale = await api.call(method, f"/teams/{team}", token=ann.token, **body, **old)
    told = problem(stale, 412, "stale_version")
    assert told["current"] == await read(ann, team)
    assert stale.headers["ETag"] == '"2"'
    fresh = await api.call(method, f"/teams/{team}", token=ann.token, **body, headers={"If-Match": '"2"'})
    assert fresh.status_code == (200 if method == "PUT" else 204)


async def test_of_many_who_change_one_version_one_gets_through(api: Api) -> None:
    ann = await api.person()
    team = await api.team(ann)
    answers = await asyncio.gather(
        *(ann.put(f"/teams/{team}", {"name": f"Nr. {n}"}, headers={"If-Match": '"1"'}) for n in range(8))
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 7


async def test_a_slug_can_be_changed_to_one_that_nobody_has(api: Api) -> None:
    ann, bob = await api.person(), await api.person("Bob")
    mine, other = await api.team(ann), await api.team(bob)
    taken = (await read(bob, other))["slug"]
    problem(await ann.put(f"/teams/{mine}", {"name": "Mine", "slug": taken}), 409, "slug_taken")
    assert (await read(ann, mine))["name"] == "Coffee corner", "nothing of it was done"
    free = f"free-{mine[-8:]}"
    assert (await ann.put(f"/teams/{mine}", {"name": "Mine", "slug": free})).json()["data"]["slug"] == free
    given_up = await bob.put(f"/teams/{other}", {"name": "Other", "slug": free})
    problem(given_up, 409, "slug_taken")
    problem(await ann.put(f"/teams/{mine}", {"name": "Mine", "slug": "Not A Slug"}), 422, "invalid")
    problem(await ann.put(f"/teams/{mine}", {"name": "Mine", "slug": None}), 422, "invalid")


@pytest.mark.parametrize(
    "metadata",
    [{str(n): n for n in range(51)}, {"x": "y" * METADATA_BYTES_MAX}, [], "text", None],
)
async def test_metadata_are_few_small_and_an_object(team: Company, metadata: Any) -> None:
    answer = await team["owner"].put(f"/teams/{team.team}", {"name": "Team", "metadata": metadata})
    assert problem(answer, 422, "invalid")["errors"][0]["pointer"].startswith("/metadata")


async def test_a_key_may_what_its_scopes_and_its_user_may(api: Api) -> None:
    ann = await api.person()
    team = await api.team(ann)
    key = await new_key(ann, "team:read", "settings:write", teamId=team)
    renamed = await by(key, ann, "PUT", f"/teams/{team}", json={"name": "Robot's"})
    assert renamed.status_code == 200, renamed.text
    problem(await by(key, ann, "DELETE", f"/teams/{team}"), 403, "missing_scope")
    problem(await by(key, ann, "POST", f"/teams/{team}/restore"), 403, "session_required")
