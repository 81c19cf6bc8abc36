"""Teams: who is in them, as what, and who changes that."""

import asyncio
from typing import Any

import pytest

from domain.teams import members, membership
from tests.app.company import ROLES, Company, company, problem
from tests.factories import Api, Person


async def roles(person: Person, team: str) -> dict[str, str]:
    """Who is in the team, as what."""
    answer = await person.get(f"/teams/{team}/members?limit=100")
    assert answer.status_code == 200, answer.text
    return {member["userId"]: member["role"] for member in answer.json()["data"]}


async def test_everyone_begins_with_a_personal_team_of_their_own(api: Api) -> None:
    ann = await api.person()
    [mine] = (await ann.get("/teams")).json()["data"]
    assert mine["id"] == ann.personal_team_id
    assert (mine["personal"], mine["ownerId"], mine["version"]) == (True, ann.id, 1)
    assert await roles(ann, mine["id"]) == {ann.id: "owner"}
    made = await ann.post("/inventory", {"name": "Tea", "quantity": 1})
    assert made.json()["data"]["teamId"] == mine["id"], "it is the team that is meant where none is named"
    assert (await ann.get("/inventory")).json()["position"]["channel"] == f"inventory:{mine['id']}"


async def test_whoever_makes_a_team_owns_it(api: Api) -> None:
    ann = await api.person()
    answer = await ann.post("/teams", {"name": "  Größe & Café 7!  "})
    body = answer.json()
    assert answer.status_code == 201
    assert body["teamId"] == body["data"]["id"]
    assert answer.headers["Location"] == f"/api/teams/{body['teamId']}"
    assert answer.headers["ETag"] == '"1"'
    assert body["data"]["personal"] is False
    assert body["data"]["slug"].startswith("groe-cafe-7-")
    assert await roles(ann, body["teamId"]) == {ann.id: "owner"}
    read = await ann.get(f"/teams/{body['teamId']}")
    assert read.json()["data"] == body["data"]
    assert read.headers["ETag"] == answer.headers["ETag"]


async def test_a_slug_belongs_to_one_team(api: Api) -> None:
    ann, bob = await api.person(), await api.person("Bob")
    slug = f"team-{ann.id[-8:]}"
    assert (await ann.post("/teams", {"name": "One", "slug": slug})).json()["data"]["slug"] == slug
    problem(await bob.post("/teams", {"name": "Two", "slug": slug}), 409, "slug_taken")


@pytest.mark.parametrize("slug", ["A", "a", "a--b", "-a", "a-", "a b", "ab\n", "ä-b", "x" * 61])
async def test_a_slug_is_lower_case_words_with_dashes(api: Api, slug: str) -> None:
    answer = await (await api.person()).post("/teams", {"name": "One", "slug": slug})
    assert problem(answer, 422, "invalid")["errors"][0]["pointer"] == "/slug"


async def test_the_list_of_teams_has_those_one_is_in_newest_first_page_by_page(api: Api) -> None:
    ann, bob = await api.person(), await api.person("Bob")
    made = [ann.personal_team_id, *[await api.team(ann) for _ in range(4)], await api.team(bob, viewer=ann)]
    seen: list[str] = []
    cursor = ""
    while True:
        page = (await ann.get(f"/teams?limit=2{cursor}")).json()
        seen += [team["id"] for team in page["data"]]
        if page["nextCursor"] is None:
            break
        cursor = f"&cursor={page['nextCursor']}"
    assert seen == made[::-1]
    assert bob.personal_team_id not in seen


async def test_members_come_by_id_and_in_the_order_they_joined(api: Api) -> None:
    ann, bob, eve = await api.person(), await api.person("Bob"), await api.person("Eve")
    team = await api.team(ann)
    added = await ann.post(f"/teams/{team}/members", {"userId": bob.id, "role": "viewer"})
    assert added.status_code == 201
    assert added.headers["Location"] == f"/api/teams/{team}/members/{bob.id}"
    assert added.json()["data"].items() >= {"userId": bob.id, "name": "Bob", "role": "viewer"}.items()
    assert (await ann.post(f"/teams/{team}/members", {"userId": eve.id})).status_code == 201
    assert await roles(bob, team) == {ann.id: "owner", bob.id: "viewer", eve.id: "member"}

    first = (await bob.get(f"/teams/{team}/members?limit=2")).json()
    assert first["position"]["channel"] == f"team:{team}"
    rest = (await bob.get(f"/teams/{team}/members?limit=2&cursor={first['nextCursor']}")).json()
    assert [member["userId"] for member in first["data"] + rest["data"]] == [ann.id, bob.id, eve.id]
    assert rest["nextCursor"] is None
    assert all("email" not in member for member in first["data"]), "an address is its owner's business"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 422, "user_id_or_email"),
        ({"userId": "user_01h455vb4pex5vsknk084sn02q", "email": "a@b.c"}, 422, "user_id_or_email"),
        ({"userId": "user_01h455vb4pex5vsknk084sn02q"}, 404, "not_found"),
        ({"userId": "bob"}, 422, "invalid"),
        ({"email": "bob@example.org", "role": "king"}, 422, "unknown_role"),
        ({"email": "bob@example.org", "role": "owner", "staff": True}, 422, "invalid"),
    ],
)
async def test_a_member_is_somebody_in_a_known_role(
    team: Company, body: dict[str, Any], status: int, code: str
) -> None:
    problem(await team["owner"].post(f"/teams/{team.team}/members", body), status, code)


async def test_nobody_joins_twice(team: Company) -> None:
    for role in ROLES:
        body = {"userId": team[role].id, "role": "viewer"}
        answer = await team["owner"].post(f"/teams/{team.team}/members", body)
        problem(answer, 409, "already_a_member")
    assert (await roles(team["owner"], team.team))[team["admin"].id] == "admin"


async def test_nobody_grants_or_takes_away_more_than_they_have(api: Api) -> None:
    team = await company(api)
    admin, owner = team["admin"], team["owner"]
    before = await roles(owner, team.team)
    members = f"/teams/{team.team}/members"
    refused = [
        await admin.post(members, {"userId": team["stranger"].id, "role": "owner"}),
        await admin.put(f"{members}/{team['viewer'].id}", {"role": "owner"}),
        await admin.put(f"{members}/me", {"role": "owner"}),
        await admin.put(f"{members}/{owner.id}", {"role": "viewer"}),
        await admin.delete(f"{members}/{owner.id}"),
    ]
    for answer in refused:
        problem(answer, 403, "role_above_own")
    assert await roles(owner, team.team) == before
    up_to_own = await admin.put(f"{members}/{team['viewer'].id}", {"role": "admin"})
    assert up_to_own.json()["data"]["role"] == "admin"
    assert (await owner.put(f"{members}/{admin.id}", {"role": "owner"})).status_code == 200


async def test_a_team_always_has_an_owner(api: Api) -> None:
    team = await company(api)
    owner, members = team["owner"], f"/teams/{team.team}/members"
    for answer in (
        await owner.put(f"{members}/me", {"role": "admin"}),
        await owner.delete(f"{members}/me"),
        await owner.delete(f"{members}/{owner.id}"),
    ):
        problem(answer, 409, "last_owner")
    await owner.put(f"{members}/{team['admin'].id}", {"role": "owner"})
    assert (await owner.delete(f"{members}/me")).status_code == 204, "now there is another one"
    problem(await team["admin"].delete(f"{members}/me"), 409, "last_owner")


async def test_two_owners_who_leave_at_once_do_not_both_get_away(api: Api) -> None:
    ann, bob = await api.person(), await api.person("Bob")
    team = await api.team(ann, admin=bob)
    await ann.put(f"/teams/{team}/members/{bob.id}", {"role": "owner"})
    answers = await asyncio.gather(*(who.delete(f"/teams/{team}/members/me") for who in (ann, bob)))
    assert sorted(answer.status_code for answer in answers) == [204, 409]


@pytest.mark.parametrize("role", ["viewer", "member", "admin"])
async def test_anyone_may_leave_and_take_nobody_along(api: Api, role: str) -> None:
    team = await company(api)
    members = f"/teams/{team.team}/members"
    if role != "admin":
        problem(await team[role].delete(f"{members}/{team['owner'].id}"), 403, "forbidden")
    assert (await team[role].delete(f"{members}/me")).status_code == 204
    problem(await team[role].get(f"/teams/{team.team}"), 404, "not_found")
    assert team[role].id not in await roles(team["owner"], team.team)


async def test_giving_the_role_that_someone_has_changes_and_says_nothing(team: Company) -> None:
    path = f"/teams/{team.team}/members/{team['viewer'].id}"
    same = await team["owner"].put(path, {"role": "viewer"})
    assert same.status_code == 200
    assert "X-Stream-Position" not in same.headers
    other = await team["owner"].put(path, {"role": "member"})
    assert "X-Stream-Position" in other.headers
    await team["owner"].put(path, {"role": "viewer"})


async def test_a_stranger_is_no_member_to_change_or_remove(team: Company) -> None:
    path = f"/teams/{team.team}/members/{team['stranger'].id}"
    problem(await team["owner"].put(path, {"role": "viewer"}), 404, "not_found")
    problem(await team["owner"].delete(path), 404, "not_found")


async def test_the_owner_of_record_moves_on_with_whoever_stays(api: Api) -> None:
    ann, bob = await api.person(), await api.person("Bob")
    team = await api.team(ann, admin=bob)
    await ann.put(f"/teams/{team}/members/{bob.id}", {"role": "owner"})
    before = (await bob.get(f"/teams/{team}")).json()["data"]
    assert before["ownerId"] == ann.id
    left = await ann.delete(f"/teams/{team}/members/me")
    after = (await bob.get(f"/teams/{team}")).json()["data"]
    assert (after["ownerId"], after["version"]) == (bob.id, before["version"] + 1)
    assert f"team:{team}@" in left.headers["X-Stream-Position"]
    [row] = (await bob.get(f"/audit-logs?teamId={team}&action=teams.changed")).json()["data"]
    assert row["changes"] == {"ownerId": {"before": ann.id, "after": bob.id}}


async def test_a_personal_team_stays_with_its_person_whoever_else_is_in_it(api: Api) -> None:
    ann, bob = await api.person(), await api.person("Bob")
    members = f"/teams/{ann.personal_team_id}/members"
    await ann.post(members, {"userId": bob.id, "role": "owner"})
    problem(await ann.delete(f"{members}/me"), 409, "personal_team")
    problem(await bob.put(f"{members}/{ann.id}", {"role": "viewer"}), 409, "personal_team")
    assert (await bob.delete(f"{members}/me")).status_code == 204


async def test_teams_and_memberships_are_bounded(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    ann, bob, cid = await api.person(), await api.person("Bob"), await api.person("Cid")
    team = await api.team(ann, member=bob)
    monkeypatch.setattr(members, "MEMBERS_MAX", 2)
    third = {"userId": cid.id, "role": "viewer"}
    problem(await ann.post(f"/teams/{team}/members", third), 409, "too_many_members")
    monkeypatch.setattr(members, "MEMBERS_MAX", 3)
    monkeypatch.setattr(membership, "TEAMS_MAX", 1)
    problem(await ann.post(f"/teams/{team}/members", third), 409, "too_many_teams")
    problem(await cid.post("/teams", {"name": "One more"}), 409, "too_many_teams")
    monkeypatch.setattr(membership, "TEAMS_MAX", 2)
    assert (await ann.post(f"/teams/{team}/members", third)).status_code == 201
