"""Accounts: one's own, and the public face of others."""

import asyncio

import pytest

from tests.app.company import Company, bare, problem
from tests.factories import Api


async def test_one_sees_ones_own_account(api: Api) -> None:
    ann = await api.person()
    answer = await ann.get("/users/me")
    me = answer.json()["data"]
    assert set(me) == {
        "id", "email", "name", "emailVerifiedAt", "isStaff", "personalTeamId", "version", "createdAt",
        "updatedAt",
    }  # fmt: skip
    assert (me["id"], me["email"], me["name"]) == (ann.id, ann.email, "Ann")
    assert answer.headers["ETag"] == '"1"'


async def test_one_changes_ones_own_name(api: Api) -> None:
    ann = await api.person()
    answer = await ann.patch("/users/me", {"name": "Anna 🍵"})
    assert answer.json()["data"]["name"] == "Anna 🍵"
    assert answer.headers["ETag"] == '"2"'
    assert f"user:{ann.id}@" in answer.headers["X-Stream-Position"]
    same = await ann.patch("/users/me", {"name": "Anna 🍵"})
    assert (same.status_code, same.headers["ETag"]) == (200, '"2"')
    assert "X-Stream-Position" not in same.headers
    assert (await ann.get("/users/me")).json()["data"] == answer.json()["data"]


async def test_a_stale_version_is_shown_the_present_one(api: Api) -> None:
    ann = await api.person()
    now = (await ann.patch("/users/me", {"name": "First"}, headers={"If-Match": '"1"'})).json()["data"]
    late = await ann.patch("/users/me", {"name": "Second"}, headers={"If-Match": '"1"'})
    assert problem(late, 412, "stale_version")["current"] == now
    assert late.headers["ETag"] == '"2"'


@pytest.mark.parametrize("field", ["email", "isStaff", "id", "passwordHash", "personalTeamId", "disabledAt"])
async def test_nobody_makes_themselves_something_else(api: Api, field: str) -> None:
    ann = await api.person()
    before = (await ann.get("/users/me")).json()
    refused = problem(await ann.patch("/users/me", {"name": "Ann", field: True}), 422, "invalid")
    assert refused["errors"] == [
        {
            "pointer": f"/{field}",
            "code": "unknown_field",
            "detail": f"Object contains unknown field `{field}`",
        }
    ]
    assert (await ann.get("/users/me")).json() == before


async def test_teammates_see_each_others_names_and_no_more(team: Company) -> None:
    for reader in ("viewer", "admin"):
        answer = await team[reader].get(f"/users/{team['owner'].id}")
        assert answer.json() == {"success": True, "data": {"id": team["owner"].id, "name": "Owner"}}
    assert (await team["viewer"].get("/users/me")).json()["data"]["id"] == team["viewer"].id


async def test_others_are_not_there(team: Company) -> None:
    foreign = await team["stranger"].get(f"/users/{team['owner'].id}")
    absent = await team["stranger"].get("/users/user_01h455vb4pex5vsknk084sn02q")
    problem(foreign, 404, "not_found")
    assert bare(foreign) == bare(absent)
    assert (await team["stranger"].get(f"/users/{team['stranger'].id}")).status_code == 200


async def test_a_new_name_is_news_in_every_team_that_shows_it(api: Api) -> None:
    ann, bob = await api.person("Ann"), await api.person("Bob")
    team = await api.team(ann, viewer=bob)
    answer = await bob.patch("/users/me", {"name": "Robert"})
    assert {f"team:{team}", f"team:{bob.personal_team_id}", f"user:{bob.id}"} == {
        part.rpartition("@")[0] for part in answer.headers["X-Stream-Position"].split()
    }
    [row] = (await ann.get(f"/audit-logs?teamId={team}&action=teams.member_renamed")).json()["data"]
    assert row["changes"] == {"name": {"before": "Bob", "after": "Robert"}}


async def test_renames_at_once_each_say_truly_what_the_name_was_before(api: Api) -> None:
    ann = await api.person("Ann")
    await asyncio.gather(*(ann.patch("/users/me", {"name": f"Ann {number}"}) for number in range(8)))
    rows = (await ann.get("/audit-logs?action=teams.member_renamed")).json()["data"][::-1]
    names = [row["changes"]["name"] for row in rows]
    assert len(names) == 8
    assert [name["before"] for name in names] == ["Ann", *(name["after"] for name in names[:-1])]
