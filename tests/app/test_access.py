"""Who may do what: every route of teams, inventory, audit logs and users, for every kind of caller.

One table. A caller who is below the route's least role is told 403 and nothing happens; a stranger is told
404, in the very words used for something that does not exist; nobody is told 401.
"""

import secrets
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.app.company import ABSENT, CALLERS, ROLES, Company, bare, problem
from tests.app.inviting import invited
from tests.factories import item


@dataclass(frozen=True)
class Route:
    """One route; `{team}`, `{item}` and `{user}` in path and body stand for ids, fresh for each call."""

    method: str
    path: str
    least: str
    status: int = 200
    body: dict[str, Any] | None = None


ROUTES = [
    Route("GET", "/teams/{team}", "viewer"),
    Route("PUT", "/teams/{team}", "admin", 200, {"name": "{fresh}"}),
    Route("GET", "/teams/{team}/members", "viewer"),
    Route("POST", "/teams/{team}/members", "admin", 201, {"userId": "{new}", "role": "viewer"}),
    Route("PUT", "/teams/{team}/members/{user}", "admin", 200, {"role": "viewer"}),
    Route("DELETE", "/teams/{team}/members/{user}", "admin", 204),
    Route("GET", "/teams/{team}/roles", "viewer"),
    Route("POST", "/teams/{team}/roles", "owner", 201, {"name": "{role}", "permissions": []}),
    Route("PUT", "/teams/{team}/roles/{role}", "owner", 200, {"permissions": ["search:read"]}),
    Route("DELETE", "/teams/{team}/roles/{role}", "owner", 204),
    Route("GET", "/teams/{team}/invites", "admin"),
    Route("POST", "/teams/{team}/invites", "admin", 201, {"email": "{address}", "role": "viewer"}),
    Route("POST", "/teams/{team}/invites/{inv}/resend", "admin"),
    Route("DELETE", "/teams/{team}/invites/{inv}", "admin", 204),
    Route("GET", "/inventory?teamId={team}", "viewer"),
    Route("POST", "/inventory", "member", 201, {"name": "Tea", "quantity": 1, "teamId": "{team}"}),
    Route("GET", "/inventory/{item}", "viewer"),
    Route("PUT", "/inventory/{item}", "member", 200, {"name": "Tea", "quantity": 1}),
    Route("PATCH", "/inventory/{item}", "member", 200, {"name": "Tea"}),
    Route("DELETE", "/inventory/{item}", "member", 204),
    Route("POST", "/inventory/{item}/adjust", "member", 200, {"delta": -1, "reason": "sold"}),
    Route("GET", "/inventory/{item}/movements", "viewer"),
    Route("GET", "/audit-logs?teamId={team}", "admin"),
    Route("GET", "/users/{user}", "viewer"),
]
named = pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")


async def things(team: Company, route: Route) -> dict[str, str]:
    """Fresh things of the team for one call of the route."""
    joiner, members = team["joiner"].id, f"/teams/{team.team}/members"
    address = f"invited-{secrets.token_hex(6)}@example.org"
    ids = {"team": team.team, "new": joiner, "user": joiner, "address": address}
    ids["fresh"] = f"Team {secrets.token_hex(4)}"
    if "{inv}" in route.path:
        ids["inv"] = (await invited(team["owner"], team.team, f"x-{address}"))["id"]
    if "{item}" in route.path:
        ids["item"] = (await item(team["owner"], team.team))["id"]
    if "{user}" in route.path or "{new}" in str(route.body):
        await team["owner"].delete(f"{members}/{joiner}")
    if "{role}" in f"{route.path} {route.body}":
        ids["role"] = f"role-{secrets.token_hex(6)}"
    if "{role}" in route.path:
        made = {"name": ids["role"], "permissions": []}
        assert (await team["owner"].post(f"/teams/{team.team}/roles", made)).status_code == 201
    if "{user}" in route.path:
        await team["owner"].post(members, {"userId": joiner, "role": "member"})
    return ids


async def ask(team: Company, caller: str, route: Route, ids: dict[str, str]) -> httpx.Response:
    """The route, called on these things."""
    body = {
        name: value.format(**ids) if isinstance(value, str) else value
        for name, value in (route.body or {}).items()
    }
    return await team.call(caller, route.method, route.path.format(**ids), json=body or None)


async def happened(team: Company) -> int:
    """How much has happened in the team so far."""
    page = await team["owner"].get(f"/audit-logs?teamId={team.team}&limit=1")
    offset: int = page.json()["position"]["offset"]
    return offset


@pytest.fixture(scope="module", autouse=True)
async def joiner(team: Company) -> None:
    """Somebody who comes and goes."""
    team.people["joiner"] = await team.api.person("Joiner")


@named
@pytest.mark.parametrize("caller", CALLERS)
async def test_who_may_and_who_may_not(team: Company, route: Route, caller: str) -> None:
    ids = await things(team, route)
    before = await happened(team)
    answer = await ask(team, caller, route, ids)
    after = await happened(team)
    if caller in ROLES and ROLES.index(caller) >= ROLES.index(route.least):
        assert answer.status_code == route.status, answer.text
        assert (after > before) == (route.method != "GET"), "a change is in the trail, a read is not"
        return
    assert after == before, "what is refused leaves nothing behind"
    if caller == "nobody":
        problem(answer, 401, "no_token")
    elif caller == "stranger":
        problem(answer, 404, "not_found")
    else:
        assert problem(answer, 403, "forbidden")["role"] == caller


@named
async def test_what_is_foreign_looks_exactly_like_what_is_absent(team: Company, route: Route) -> None:
    ids = await things(team, route)
    foreign = await ask(team, "stranger", route, ids)
    absent = await ask(team, "stranger", route, {**ids, **ABSENT})
    problem(absent, 404, "not_found")
    assert bare(foreign) == bare(absent)
    problem(await ask(team, "owner", route, {**ids, **ABSENT}), 404, "not_found")
    own = await ask(team, "owner", route, ids)
    assert own.status_code == route.status, "it is there for those who may see it"


@named
async def test_only_a_change_answers_with_a_stream_position(team: Company, route: Route) -> None:
    answer = await ask(team, "owner", route, await things(team, route))
    assert answer.status_code == route.status
    if route.method == "GET":
        assert "X-Stream-Position" not in answer.headers
        return
    reached = dict(part.rsplit("@", 1) for part in answer.headers["X-Stream-Position"].split())
    assert reached, "a change is news"
    assert all(int(offset) > 0 for offset in reached.values())
    own = {f"user:{team['owner'].id}", f"team:{team.team}", f"inventory:{team.team}"}
    assert own.issuperset(reached), "how far the trail and other people's channels are is nobody's news"


async def test_a_thing_is_not_moved_into_another_team_by_a_field(team: Company) -> None:
    mine = await item(team["owner"], team.team)
    for method in ("PUT", "PATCH"):
        body = {"name": "Tea", "quantity": 1, "teamId": team["stranger"].personal_team_id}
        answer = await team.call("owner", method, f"/inventory/{mine['id']}", json=body)
        refused = problem(answer, 422, "invalid")
        assert refused["errors"][0]["pointer"] == "/teamId"
        assert refused["errors"][0]["code"] == "unknown_field"


async def test_a_removed_member_may_nothing_from_that_moment_on(team: Company) -> None:
    joiner = team["joiner"]
    await team["owner"].post(f"/teams/{team.team}/members", {"userId": joiner.id, "role": "member"})
    thing = await item(joiner, team.team)
    assert (await joiner.get(f"/inventory/{thing['id']}")).status_code == 200
    assert (await team["owner"].delete(f"/teams/{team.team}/members/{joiner.id}")).status_code == 204
    problem(await joiner.get(f"/inventory/{thing['id']}"), 404, "not_found")
    problem(await joiner.patch(f"/inventory/{thing['id']}", {"name": "x"}), 404, "not_found")
    problem(await joiner.get(f"/users/{team['owner'].id}"), 404, "not_found")
