"""Roles: what every team has, and what it makes for itself."""

import asyncio
import secrets
from typing import Any

import asyncpg
import pytest

from domain import db
from domain.teams import roles
from domain.teams.policy import BUILT_IN, LEAST
from tests.app.company import ROLES, Company, company, problem
from tests.app.making_roles import define, give
from tests.factories import Api, item
from tests.keys import new_key

READS = ["inventory:read", "team:read"]


async def test_every_team_has_four_roles_and_those_of_its_own_after_them(api: Api) -> None:
    team = await company(api)
    owner, path = team["owner"], f"/teams/{team.team}/roles"
    made = await owner.post(path, {"name": "stock-taker", "permissions": ["inventory:read"] * 2})
    assert made.status_code == 201
    assert made.headers["Location"] == f"/api{path}/stock-taker"
    assert made.headers["ETag"] == '"1"'
    assert made.json()["data"]["permissions"] == READS, "each once, and to be a member is always among it"
    await define(owner, team.team, "auditor", "audit:read")

    answer = (await team["viewer"].get(path)).json()
    assert [(role["name"], role["builtIn"]) for role in answer["data"]] == [
        *((name, True) for name in ROLES),
        ("auditor", False),
        ("stock-taker", False),
    ]
    assert answer["data"][-1] == made.json()["data"]
    for role in answer["data"][:4]:
        assert set(role["permissions"]) == BUILT_IN[role["name"]].permissions
    assert answer["position"]["channel"] == f"team:{team.team}"
    problem(await team["stranger"].get(path), 404, "not_found")


async def test_a_member_may_exactly_what_their_role_says(api: Api) -> None:
    team = await company(api)
    owner, bob = team["owner"], team["viewer"]
    thing = await item(owner, team.team)
    await define(owner, team.team, "auditor", "audit:read")
    assert await give(owner, team.team, bob, "auditor") == 200
    assert (await bob.get(f"/audit-logs?teamId={team.team}")).status_code == 200
    refused = problem(await bob.get(f"/inventory/{thing['id']}"), 403, "forbidden")
    assert (refused["role"], refused["permission"]) == ("auditor", "inventory:read")
    members = (await owner.get(f"/teams/{team.team}/members")).json()["data"]
    assert {member["role"] for member in members} == {"auditor", "member", "admin", "owner"}
    assert (await bob.delete(f"/teams/{team.team}/members/me")).status_code == 204, "anyone may leave"


@pytest.mark.parametrize("name", ["A", "a", "1a", "-a", "a b", "a_b", "ab\n", "a" * 41, ""])
async def test_a_name_is_lower_case_with_dashes(team: Company, name: str) -> None:
    answer = await team["owner"].post(f"/teams/{team.team}/roles", {"name": name, "permissions": []})
    assert problem(answer, 422, "invalid")["errors"][0]["pointer"] == "/name"


async def test_a_permission_is_one_of_the_list(team: Company) -> None:
    body = {"name": "burner", "permissions": ["team:read", "inventory:burn"]}
    [field] = problem(await team["owner"].post(f"/teams/{team.team}/roles", body), 422, "invalid")["errors"]
    assert (field["pointer"], field["code"]) == ("/permissions/1", "unknown_permission")


@pytest.mark.parametrize("name", ROLES)
async def test_built_in_roles_stay_as_they_are(team: Company, name: str) -> None:
    owner, path = team["owner"], f"/teams/{team.team}/roles"
    problem(await owner.post(path, {"name": name, "permissions": []}), 409, "built_in_role")
    problem(await owner.put(f"{path}/{name}", {"permissions": []}), 409, "built_in_role")
    problem(await owner.delete(f"{path}/{name}"), 409, "built_in_role")


async def test_a_role_has_versions(api: Api) -> None:
    ann = await api.person()
    team = await api.team(ann)
    path = f"/teams/{team}/roles/taker"
    first = await define(ann, team, "taker", "inventory:read")
    same = await ann.put(path, {"permissions": ["inventory:read"]})
    assert (same.json()["data"], "X-Stream-Position" in same.headers) == (first, False)
    changed = await ann.put(path, {"permissions": ["inventory:write"]}, headers={"If-Match": '"1"'})
    assert changed.headers["ETag"] == '"2"'
    stale = await ann.put(path, {"permissions": []}, headers={"If-Match": '"1"'})
    assert problem(stale, 412, "stale_version")["current"] == changed.json()["data"]
    problem(await ann.delete(path, headers={"If-Match": '"1"'}), 412, "stale_version")
    assert (await ann.delete(path, headers={"If-Match": '"2"'})).status_code == 204
    problem(await ann.put(path, {"permissions": []}), 404, "not_found")
    problem(await ann.delete(path), 404, "not_found")
    rows = (await ann.get(f"/audit-logs?teamId={team}")).json()["data"]
    told = {row["action"]: (row["resource"], row["changes"]) for row in rows}
    wrote, read = ["inventory:write", "team:read"], READS
    assert told["teams.role_defined"] == ("taker", {"permissions": {"before": None, "after": read}})
    assert told["teams.role_redefined"] == ("taker", {"permissions": {"before": read, "after": wrote}})
    assert told["teams.role_removed"] == ("taker", {"permissions": {"before": wrote, "after": None}})


async def test_a_role_that_somebody_has_stays(api: Api) -> None:
    ann, bob = await api.person(), await api.person("Bob")
    team = await api.team(ann, viewer=bob)
    await define(ann, team, "taker", "inventory:read")
    assert await give(ann, team, bob, "taker") == 200
    problem(await ann.delete(f"/teams/{team}/roles/taker"), 409, "role_in_use")
    assert await give(ann, team, bob, "viewer") == 200
    assert (await ann.delete(f"/teams/{team}/roles/taker")).status_code == 204
    problem(await ann.put(f"/teams/{team}/members/{bob.id}", {"role": "taker"}), 422, "unknown_role")


async def test_a_role_that_is_given_and_removed_at_once_is_one_or_the_other(api: Api) -> None:
    ann, bob = await api.person(), await api.person("Bob")
    team = await api.team(ann, viewer=bob)
    for _ in range(5):
        await define(ann, team, "taker", "inventory:read")
        given, removed = await asyncio.gather(
            ann.put(f"/teams/{team}/members/{bob.id}", {"role": "taker"}),
            ann.delete(f"/teams/{team}/roles/taker"),
        )
        assert (given.status_code, removed.status_code) in {(200, 409), (422, 204)}
        await give(ann, team, bob, "viewer")
        await ann.delete(f"/teams/{team}/roles/taker")


async def test_the_database_itself_knows_no_member_without_a_role_and_no_other_teams_roles(
    api: Api,
) -> None:
    ann, bob = await api.person(), await api.person("Bob")
    team, other = await api.team(ann, viewer=bob), await api.team(ann)
    await define(ann, other, "taker", "inventory:read")
    change = "UPDATE team_members SET role = $3 WHERE team_id = $1 AND user_id = $2"
    for name in ("taker", "king", "Owner", ""):
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            await db.execute(change, team, bob.id, name)
    problem(await ann.put(f"/teams/{team}/members/{bob.id}", {"role": "taker"}), 422, "unknown_role")
    await define(ann, team, "taker", "inventory:read")
    await db.execute(change, team, bob.id, "taker")
    for statement in (
        "DELETE FROM team_roles WHERE team_id = $1",
        "UPDATE team_roles SET name = 'other' WHERE team_id = $1",
    ):
        with pytest.raises(asyncpg.RestrictViolationError):
            await db.execute(statement, team)


async def test_a_team_has_at_most_fifty(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    assert roles.ROLES_MAX == 50
    monkeypatch.setattr(roles, "ROLES_MAX", 2)
    ann = await api.person()
    team = await api.team(ann)
    for name in ("one", "two"):
        await define(ann, team, name)
    body = {"name": "three", "permissions": []}
    problem(await ann.post(f"/teams/{team}/roles", body), 409, "too_many_roles")
    monkeypatch.setattr(roles, "ROLES_MAX", 3)
    problem(await ann.post(f"/teams/{team}/roles", {**body, "name": "two"}), 409, "role_exists")


async def test_who_manages_roles_puts_in_and_takes_out_only_what_they_have(api: Api) -> None:
    team = await company(api)
    owner, bob, path = team["owner"], team["viewer"], f"/teams/{team.team}/roles"
    await define(owner, team.team, "clerk", "roles:manage", "members:manage", "inventory:read")
    await define(owner, team.team, "auditor", "audit:read")
    assert await give(owner, team.team, bob, "clerk") == 200
    await define(bob, team.team, "reader", "inventory:read")
    refused = [
        await bob.post(path, {"name": "mine", "permissions": ["audit:read"]}),
        await bob.put(f"{path}/clerk", {"permissions": ["roles:manage", "members:manage", "audit:read"]}),
        await bob.put(f"{path}/reader", {"permissions": ["billing:manage"]}),
        await bob.put(f"{path}/auditor", {"permissions": []}),
        await bob.delete(f"{path}/auditor"),
        await bob.put(f"/teams/{team.team}/members/me", {"role": "auditor"}),
        await bob.put(f"/teams/{team.team}/members/{team['member'].id}", {"role": "reader"}),
        await bob.delete(f"/teams/{team.team}/members/{team['member'].id}"),
    ]
    for answer in refused:
        problem(answer, 403, "role_above_own")
    for role in ("viewer", "member", "admin"):
        answer = await team["admin" if role == "admin" else "member"].post(
            path, {"name": "mine", "permissions": []}
        )
        assert problem(answer, 403, "forbidden")["permission"] == "roles:manage"
    assert (await bob.put(f"{path}/reader", {"permissions": []})).status_code == 200


async def test_a_key_gives_no_more_than_its_scopes(team: Company) -> None:
    owner, path = team["owner"], f"/teams/{team.team}/roles"
    key = await new_key(owner, "roles:manage", "team:read", "inventory:read")

    async def made(name: str, *permissions: str) -> Any:
        body = {"name": name, "permissions": list(permissions)}
        return await team.api.call("POST", path, token=key["key"], json=body)

    assert (await made("by-key", "inventory:read")).status_code == 201
    problem(await made("by-key-too", "inventory:write"), 403, "role_above_own")
    other = await new_key(owner, *(scope for scope in LEAST if scope != "roles:manage"))
    answer = await team.api.call("POST", path, token=other["key"], json={"name": "ab", "permissions": []})
    problem(answer, 403, "missing_scope")


async def test_a_role_that_somebody_is_invited_to_stays_until_that_is_over(api: Api) -> None:
    ann = await api.person()
    team = await api.team(ann)
    await define(ann, team, "taker", "inventory:read")
    body = {"email": f"{secrets.token_hex(6)}@example.org", "role": "taker"}
    invited = await ann.post(f"/teams/{team}/invites", body)
    assert invited.status_code == 201, invited.text
    problem(await ann.delete(f"/teams/{team}/roles/taker"), 409, "role_in_use")
    problem(await ann.post(f"/teams/{team}/invites", {**body, "role": "no-such"}), 422, "unknown_role")
    assert (await ann.delete(f"/teams/{team}/invites/{invited.json()['data']['id']}")).status_code == 204
    assert (await ann.delete(f"/teams/{team}/roles/taker")).status_code == 204
