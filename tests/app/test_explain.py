"""`?explain=true`: why a right was refused, for staff; to everyone else as if it were not there."""

from typing import Any

import httpx
import pytest

from domain import channels, db
from domain.teams import policy
from domain.teams.policy import BUILT_IN
from tests.app.company import ROLES, Company, company, problem
from tests.factories import Api, Person, item
from tests.keys import new_key
from tests.raw import raw

ABSENT = "team_00000000000000000000000000"


async def staff(api: Api) -> Person:
    person = await api.person("Staff")
    await db.execute("UPDATE users SET is_staff = true WHERE id = $1", person.id)
    return person


def explanation(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    said: dict[str, Any] = problem(answer, status, code)["explanation"]
    return said


async def rows(owner: Person, team: str) -> list[dict[str, Any]]:
    found = await owner.get(f"/audit-logs?teamId={team}&action=teams.refusal_explained")
    data: list[dict[str, Any]] = found.json()["data"]
    return data


async def test_staff_are_told_which_rule_refused(api: Api) -> None:
    team, boss = await company(api), await staff(api)
    owner, thing = team["owner"], await item(team["owner"], team.team)
    stranger = await boss.get(f"/inventory/{thing['id']}?explain=true")
    assert explanation(stranger, 404, "not_found") == {
        "rule": "not_a_member",
        "teamId": team.team,
        "permission": "inventory:read",
        "role": None,
        "permissions": [],
    }
    absent = await boss.get(f"/teams/{ABSENT}?explain=true")
    assert explanation(absent, 404, "not_found")["rule"] == "team_absent"

    await owner.post(f"/teams/{team.team}/members", {"userId": boss.id, "role": "viewer"})
    missing = explanation(await boss.get(f"/audit-logs?teamId={team.team}&explain=true"), 403, "forbidden")
    assert (missing["rule"], missing["permission"], missing["role"]) == (
        "permission_missing",
        "audit:read",
        "viewer",
    )
    assert missing["permissions"] == sorted(BUILT_IN["viewer"].permissions)
    await owner.put(f"/teams/{team.team}/members/{boss.id}", {"role": "admin"})
    above = await boss.put(f"/teams/{team.team}/members/{boss.id}?explain=true", {"role": "owner"})
    assert explanation(above, 403, "role_above_own")["rule"] == "role_above_own"

    [row] = await rows(owner, team.team)
    assert (row["userId"], row["resource"]) == (boss.id, team.team), (
        "looking into a foreign team is seen there"
    )
    assert row["metadata"] == {"rule": "not_a_member", "permission": "inventory:read"}


async def test_a_deleted_team_is_told_from_a_foreign_one_also_where_a_change_was_refused(api: Api) -> None:
    ann, boss = await api.person(), await staff(api)
    team = await api.team(ann)
    await db.execute("UPDATE teams SET deleted_at = now() WHERE id = $1", team)
    body = {"name": "taker", "permissions": []}
    answer = await boss.post(f"/teams/{team}/roles?explain=true", body)
    assert explanation(answer, 404, "not_found")["rule"] == "team_deleted"
    await db.execute("UPDATE teams SET deleted_at = NULL WHERE id = $1", team)
    policy.memory.forget(ann.id)
    assert [row["metadata"]["rule"] for row in await rows(ann, team)] == ["team_deleted"]


async def test_staff_who_do_not_ask_are_told_nothing_and_leave_nothing(api: Api) -> None:
    ann, boss = await api.person(), await staff(api)
    team = await api.team(ann)
    for query in ("", "?explain=false", "?explain=1", "?explain="):
        assert "explanation" not in problem(await boss.get(f"/teams/{team}{query}"), 404, "not_found")
    assert await rows(ann, team) == []


async def test_a_key_of_staff_is_no_staff(api: Api) -> None:
    ann, boss = await api.person(), await staff(api)
    team, key = await api.team(ann), await new_key(boss, "team:read")
    answer = await api.call("GET", f"/teams/{team}?explain=true", token=key["key"])
    assert "explanation" not in problem(answer, 404, "not_found")


@pytest.mark.parametrize("caller", ["nobody", "stranger", *ROLES])
async def test_to_everyone_else_the_answer_is_the_same_to_the_byte(team: Company, caller: str) -> None:
    thing = await item(team["owner"], team.team)
    same = {"X-Request-Id": "one-and-the-same"}
    refused = 0
    for method, path, body in (
        ("GET", f"/teams/{team.team}", None),
        ("GET", f"/teams/{ABSENT}", None),
        ("GET", f"/inventory/{thing['id']}", None),
        ("GET", f"/teams/{team.team}/invites", None),
        ("POST", f"/teams/{team.team}/roles", {"name": "owner", "permissions": []}),
        ("PUT", f"/teams/{team.team}/members/{team['owner'].id}", {"role": "viewer"}),
    ):
        plain = await team.call(caller, method, path, json=body, headers=same)
        more = "&" if "?" in path else "?"
        asked = await team.call(caller, method, f"{path}{more}explain=true", json=body, headers=same)
        assert asked.content == plain.content
        told = [
            {k: v for k, v in each.headers.items() if k not in ("date", "ratelimit")}
            for each in (plain, asked)
        ]
        assert (told[0], asked.status_code) == (told[1], plain.status_code)
        refused += asked.status_code in (401, 403, 404, 409)
    assert refused > 0
    assert await rows(team["owner"], team.team) == []


async def test_it_explains_over_rpc_as_well(api: Api, url: str) -> None:
    ann, boss = await api.person(), await staff(api)
    team = await api.team(ann)
    async with raw(url, token=boss.token) as line:
        answer = await line.ask(rpc={"method": f"GET /api/teams/{team}?explain=true", "data": {}})
    said = answer["rpc"]["data"]
    assert (said["status"], said["body"]["explanation"]["rule"]) == (404, "not_a_member")
    assert len(await rows(ann, team)) == 1
    assert channels.team(team) not in said["headers"].get("x-stream-position", "")
