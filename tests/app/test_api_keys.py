"""API keys: made, used, changed, rotated, revoked, by whom; and what a key never does."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from domain import db
from domain.auth import api_keys, credentials
from domain.clock import now
from tests.app.company import bare, problem
from tests.factories import Api, item
from tests.keys import by, new_key, opens, trail


async def test_a_key_acts_as_its_user_and_what_it_does_says_so(api: Api) -> None:
    ann = await api.person("Ann")
    key = await new_key(ann, "inventory:write", "inventory:read")

    me = await by(key, ann, "GET", "/users/me")
    assert me.json()["data"]["id"] == ann.id
    made = await by(key, ann, "POST", "/inventory", json={"name": "Tea", "quantity": 1})
    assert made.status_code == 201, made.text
    assert made.json()["data"]["teamId"] == ann.personal_team_id

    [row] = await trail(ann, ann.personal_team_id, "inventory.created")
    assert (row["userId"], row["keyId"], row["sessionId"]) == (ann.id, key["id"], None)
    [row] = await trail(ann, ann.personal_team_id, "auth.api_key_created")
    assert (row["userId"], row["keyId"], row["sessionId"]) == (ann.id, None, ann.session_id)
    assert row["changes"]["scopes"]["after"] == ["inventory:read", "inventory:write"]


async def test_a_teams_key_knows_its_team_and_no_other(api: Api) -> None:
    ann = await api.person("Ann")
    team = await api.team(ann)
    key = await new_key(ann, "inventory:read", "inventory:write", "team:read", teamId=team)
    mine = await item(ann)

    made = await by(key, ann, "POST", "/inventory", json={"name": "Tea", "quantity": 1})
    assert made.json()["data"]["teamId"] == team, "its own team is what it means where none is named"
    teams = (await by(key, ann, "GET", "/teams")).json()["data"]
    assert [one["id"] for one in teams] == [team]

    foreign = await by(key, ann, "GET", f"/inventory/{mine['id']}")
    absent = await by(key, ann, "GET", "/inventory/item_00000000000000000000000000")
    problem(foreign, 404, "not_found")
    assert bare(foreign) == bare(absent), "another team of its own user is as foreign as any"
    problem(await by(key, ann, "GET", f"/teams/{ann.personal_team_id}"), 404, "not_found")
    body = {"name": "Tea", "quantity": 1, "teamId": ann.personal_team_id}
    problem(await by(key, ann, "POST", "/inventory", json=body), 404, "not_found")


async def test_a_teams_key_sees_the_people_of_that_team_only(api: Api) -> None:
    ann, bob, cid = [await api.person(name) for name in ("Ann", "Bob", "Cid")]
    team, other = await api.team(ann, member=bob), await api.team(ann, member=cid)
    key = await new_key(ann, "team:read", teamId=team)
    assert (await by(key, ann, "GET", f"/users/{bob.id}")).status_code == 200
    problem(await by(key, ann, "GET", f"/users/{cid.id}"), 404, "not_found")
    everywhere = await new_key(ann, "team:read")
    assert (await by(everywhere, ann, "GET", f"/users/{cid.id}")).status_code == 200
    assert other in [one["id"] for one in (await by(everywhere, ann, "GET", "/teams")).json()["data"]]


# Who may make what


@pytest.mark.parametrize("role", ["viewer", "member", "admin"])
async def test_a_teams_key_is_made_by_who_manages_keys_and_with_nothing_they_lack(
    api: Api, role: str
) -> None:
    ann, bob = await api.person("Ann"), await api.person("Bob")
    team = await api.team(ann, **{role: bob})
    body = {"name": "x", "scopes": ["inventory:read"], "teamId": team}
    answer = await bob.post("/auth/api-keys", body)
    if role != "admin":
        assert problem(answer, 403, "forbidden")["role"] == role
        return
    assert answer.status_code == 201
    refused = await bob.post("/auth/api-keys", {**body, "scopes": ["inventory:read", "billing:manage"]})
    assert problem(refused, 403, "scope_above_own")["scopes"] == ["billing:manage"]
    answer = await bob.patch(f"/auth/api-keys/{answer.json()['data']['id']}", {"scopes": ["team:delete"]})
    assert problem(answer, 403, "scope_above_own")["scopes"] == ["team:delete"]


async def test_a_key_for_a_foreign_team_is_as_impossible_as_for_an_absent_one(api: Api) -> None:
    ann, eve = await api.person("Ann"), await api.person("Eve")
    body = {"name": "x", "scopes": ["inventory:read"]}
    foreign = await eve.post("/auth/api-keys", {**body, "teamId": await api.team(ann)})
    absent = await eve.post("/auth/api-keys", {**body, "teamId": "team_00000000000000000000000000"})
    problem(foreign, 404, "not_found")
    assert bare(foreign) == bare(absent)
    problem(await eve.get(f"/auth/api-keys?teamId={ann.personal_team_id}"), 404, "not_found")


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"scopes": ["inventory:everything"]}, "/scopes/0"),
        ({"scopes": ["team:read", "*"]}, "/scopes/1"),
        ({"addresses": ["10.0.0.0/8", "example.org"]}, "/addresses/1"),
        ({"addresses": ["10.0.0.0/33"]}, "/addresses/0"),
        ({"expiresAt": "2020-01-01T00:00:00Z"}, "/expiresAt"),
        ({"name": " "}, "/name"),
        ({"key": "mk_live_mine"}, "/key"),
        ({"userId": "user_00000000000000000000000000"}, "/userId"),
    ],
)
async def test_what_cannot_be_right_is_refused(api: Api, fields: dict[str, Any], pointer: str) -> None:
    ann = await api.person("Ann")
    answer = await ann.post("/auth/api-keys", {"name": "x", "scopes": [], **fields})
    assert [error["pointer"] for error in problem(answer, 422, "invalid")["errors"]] == [pointer]


async def test_nobody_has_keys_without_end(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_keys, "KEYS_MAX", 2)
    ann = await api.person("Ann")
    body = {"name": "x", "scopes": []}
    answers = await asyncio.gather(*(ann.post("/auth/api-keys", body) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [201, 201, 409, 409, 409, 409]


# Rotation


async def test_during_the_overlap_both_texts_open_and_after_it_the_new_one(api: Api) -> None:
    ann = await api.person("Ann")
    key = await new_key(ann, "inventory:read")
    answer = await ann.post(f"/auth/api-keys/{key['id']}/rotate", {"overlapSeconds": 600})
    rotated = answer.json()["data"]
    assert (rotated["id"], rotated["scopes"]) == (key["id"], key["scopes"])
    assert rotated["key"] != key["key"]
    assert await opens(api, key["key"])
    assert await opens(api, rotated["key"])

    ended = "UPDATE api_keys SET previous_until = now() WHERE id = $1"
    await db.execute(ended, key["id"])
    assert not await opens(api, key["key"])
    assert await opens(api, rotated["key"])


async def test_without_an_overlap_the_old_text_ends_at_once_and_no_older_one_comes_back(api: Api) -> None:
    ann = await api.person("Ann")
    first = await new_key(ann)
    path = f"/auth/api-keys/{first['id']}/rotate"
    second = (await ann.post(path, {"overlapSeconds": 600})).json()["data"]
    third = (await ann.post(path, {"overlapSeconds": 600})).json()["data"]
    assert [await opens(api, one["key"]) for one in (first, second, third)] == [False, True, True]
    fourth = (await ann.post(path, {})).json()["data"]
    assert [await opens(api, one["key"]) for one in (second, third, fourth)] == [False, False, True]
    assert fourth["previousUntil"] is None


async def test_rotating_gives_no_key_a_longer_life_or_more_scopes(api: Api) -> None:
    ann = await api.person("Ann")
    until = (now() + timedelta(hours=1)).isoformat()
    key = await new_key(ann, "inventory:read", expiresAt=until)
    path = f"/auth/api-keys/{key['id']}/rotate"
    problem(await ann.post(path, {"overlapSeconds": 600, "scopes": ["team:delete"]}), 422, "invalid")
    problem(await ann.post(path, {"overlapSeconds": 10**7}), 422, "invalid")
    rotated = (await ann.post(path, {"overlapSeconds": 600})).json()["data"]
    assert (rotated["expiresAt"], rotated["scopes"]) == (key["expiresAt"], key["scopes"])
    await db.execute("UPDATE api_keys SET expires_at = now() WHERE id = $1", key["id"])
    assert not await opens(api, rotated["key"])
    assert not await opens(api, key["key"]), "an overlap outlives no key"


# Whose keys they are


@pytest.mark.parametrize("method", ["PATCH", "DELETE", "rotate"])
async def test_a_foreign_key_looks_exactly_like_one_that_never_was(api: Api, method: str) -> None:
    ann, eve = await api.person("Ann"), await api.person("Eve")
    key = await new_key(ann)

    async def attempt(key_id: str) -> Any:
        path = f"/auth/api-keys/{key_id}"
        if method == "rotate":
            return await eve.post(f"{path}/rotate", {})
        return await api.call(
            method, path, token=eve.token, json={"name": "x"} if method == "PATCH" else None
        )

    foreign, absent = await attempt(key["id"]), await attempt("key_00000000000000000000000000")
    problem(foreign, 404, "not_found")
    assert bare(foreign) == bare(absent)
    assert await opens(api, key["key"])
    assert (await eve.get("/auth/api-keys")).json()["data"] == []


async def test_who_manages_a_teams_keys_sees_and_revokes_them_and_never_holds_anothers_secret(
    api: Api,
) -> None:
    ann, bob, cid = [await api.person(name) for name in ("Ann", "Bob", "Cid")]
    team = await api.team(ann, admin=bob, member=cid)
    key = await new_key(ann, "inventory:read", teamId=team)
    [seen] = (await bob.get(f"/auth/api-keys?teamId={team}")).json()["data"]
    assert (seen["id"], seen["userId"], "key" in seen) == (key["id"], ann.id, False)
    problem(await cid.get(f"/auth/api-keys?teamId={team}"), 403, "forbidden")

    path = f"/auth/api-keys/{key['id']}"
    problem(await bob.post(f"{path}/rotate", {}), 404, "not_found")
    problem(await bob.patch(path, {"addresses": []}), 404, "not_found")
    problem(await cid.delete(path), 404, "not_found")
    assert await opens(api, key["key"])
    assert (await bob.delete(path)).status_code == 204
    assert not await opens(api, key["key"])
    problem(await ann.delete(path), 404, "not_found")
    assert (await ann.get("/auth/api-keys")).json()["data"] == []


async def test_the_key_of_a_removed_member_is_dead_and_stays_dead_when_they_come_back(api: Api) -> None:
    ann, bob = await api.person("Ann"), await api.person("Bob")
    team = await api.team(ann, admin=bob)
    teams, own = await new_key(bob, "inventory:read", teamId=team), await new_key(bob, "inventory:read")
    path = f"/inventory?teamId={team}"
    assert [(await by(key, bob, "GET", path)).status_code for key in (teams, own)] == [200, 200]

    await ann.delete(f"/teams/{team}/members/{bob.id}")
    assert not await opens(api, teams["key"])
    problem(await by(own, bob, "GET", path), 404, "not_found")
    problem(await bob.post(f"/auth/api-keys/{teams['id']}/rotate", {}), 404, "not_found")

    await ann.post(f"/teams/{team}/members", {"userId": bob.id, "role": "admin"})
    assert not await opens(api, teams["key"]), "what it acted for is another membership now"
    assert await opens(api, (await new_key(bob, "inventory:read", teamId=team))["key"])


async def test_a_demotion_of_its_user_is_felt_by_a_key_at_once(api: Api) -> None:
    ann, bob = await api.person("Ann"), await api.person("Bob")
    team = await api.team(ann, admin=bob)
    key = await new_key(bob, "audit:read", "inventory:read", teamId=team)
    path = f"/audit-logs?teamId={team}"
    assert (await by(key, bob, "GET", path)).status_code == 200
    await ann.put(f"/teams/{team}/members/{bob.id}", {"role": "viewer"})
    assert problem(await by(key, bob, "GET", path), 403, "forbidden")["role"] == "viewer"
    assert (await by(key, bob, "GET", f"/inventory?teamId={team}")).status_code == 200
    problem(await bob.post(f"/auth/api-keys/{key['id']}/rotate", {}), 403, "forbidden")
    assert (await bob.delete(f"/auth/api-keys/{key['id']}")).status_code == 204, "to end it is always theirs"


# What a key never does


async def test_a_key_gives_nobody_a_role_that_may_more_than_it(api: Api) -> None:
    ann, eve = await api.person("Ann"), await api.person("Eve")
    team = await api.team(ann)
    key = await new_key(ann, "members:manage", "team:read", teamId=team)
    for role in ("owner", "admin", "viewer"):
        body = {"userId": eve.id, "role": role}
        answer = await by(key, ann, "POST", f"/teams/{team}/members", json=body)
        problem(answer, 403, "role_above_own")
    reads = ["inventory:read", "dashboard:read", "search:read", "files:read", "analytics:read", "team:read"]
    wider = await new_key(ann, "members:manage", *reads, teamId=team)
    body = {"userId": eve.id, "role": "viewer"}
    assert (await by(wider, ann, "POST", f"/teams/{team}/members", json=body)).status_code == 201
    path = f"/teams/{team}/members/{eve.id}"
    problem(await by(wider, ann, "PUT", path, json={"role": "member"}), 403, "role_above_own")


async def test_a_key_that_may_read_does_not_leave_the_team_for_its_user(api: Api) -> None:
    ann, bob = await api.person("Ann"), await api.person("Bob")
    team = await api.team(ann, member=bob)
    key = await new_key(bob, "team:read")
    path = f"/teams/{team}/members/{bob.id}"
    assert problem(await by(key, bob, "DELETE", path), 403, "missing_scope")["permission"] == "members:manage"
    assert (await bob.delete(path)).status_code == 204


async def test_a_key_of_staff_is_no_staff(api: Api) -> None:
    ann = await api.person("Ann")
    key = await new_key(ann)
    await db.execute("UPDATE users SET is_staff = true WHERE id = $1", ann.id)
    said = credentials.claims(key["key"], None)
    who = (await credentials.identify(said, credentials.Actor())).acting(credentials.Actor())
    assert (who.user_id, who.is_staff, who.key_id, who.session_id) == (ann.id, False, key["id"], None)
