"""What an API key may: one table of routes and scopes; everything that is not in it needs a session."""

from typing import Any

import pytest
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from app.config import Config
from app.main import create_app
from domain.teams.policy import LEAST
from tests.app.company import Company, bare, problem
from tests.app.test_access import ROUTES, Route, ask, named, things
from tests.factories import Person, item
from tests.keys import new_key

# What each route of the access table asks of a key; to give somebody a role takes what the role may.
READS = {scope for scope, least in LEAST.items() if least == "viewer"}
SCOPES = {
    "GET /teams/{team}": {"team:read"},
    "GET /teams/{team}/members": {"team:read"},
    "POST /teams/{team}/members": {"members:manage"} | READS,
    "PUT /teams/{team}/members/{user}": {"members:manage"}
    | {s for s, r in LEAST.items() if r == "member"}
    | READS,
    "DELETE /teams/{team}/members/{user}": {"members:manage"}
    | {s for s, r in LEAST.items() if r == "member"}
    | READS,
    "GET /teams/{team}/roles": {"team:read"},
    "POST /teams/{team}/roles": {"roles:manage", "team:read"},
    "PUT /teams/{team}/roles/{role}": {"roles:manage", "search:read", "team:read"},
    "DELETE /teams/{team}/roles/{role}": {"roles:manage", "team:read"},
    "GET /teams/{team}/invites": {"invites:manage"},
    "POST /teams/{team}/invites": {"invites:manage"} | READS,
    "POST /teams/{team}/invites/{inv}/resend": {"invites:manage"} | READS,
    "DELETE /teams/{team}/invites/{inv}": {"invites:manage"} | READS,
    "GET /inventory?teamId={team}": {"inventory:read"},
    "POST /inventory": {"inventory:write"},
    "GET /inventory/{item}": {"inventory:read"},
    "PUT /inventory/{item}": {"inventory:write"},
    "PATCH /inventory/{item}": {"inventory:write"},
    "DELETE /inventory/{item}": {"inventory:write"},
    "POST /inventory/{item}/adjust": {"inventory:write"},
    "GET /inventory/{item}/movements": {"inventory:read"},
    "GET /audit-logs?teamId={team}": {"audit:read"},
    "GET /users/{user}": {"team:read"},
}
# Routes that keys may use and that are not about one team.
BESIDES = {"GET /api/users/me", "GET /api/teams"}
ALL = sorted(LEAST)


def open_to_keys() -> tuple[dict[str, HTTPRouteHandler], dict[str, HTTPRouteHandler]]:
    """The routes for signed-in callers: those that keys may use, and those that need a session."""
    app = create_app(Config(database_url="postgresql://", redis_url="redis://", jwt_secret="x" * 32))
    by_key: dict[str, HTTPRouteHandler] = {}
    by_session: dict[str, HTTPRouteHandler] = {}
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for method, (handler, _) in route.route_handler_map.items():
                if "caller" in handler.parsed_fn_signature.parameters:
                    kind = by_key if handler.opt.get("by_key") else by_session
                    kind[f"{method} {route.path_format}"] = handler
    return by_key, by_session


SESSION_ONLY = sorted(open_to_keys()[1])


@pytest.fixture(scope="module", autouse=True)
async def joiner(team: Company) -> None:
    """Somebody who comes and goes."""
    team.people["joiner"] = await team.api.person("Joiner")


async def with_key(team: Company, scopes: list[str], route: Route, ids: dict[str, str], **fields: Any) -> Any:
    """The route, called with a key of the owner that has these scopes."""
    key = await new_key(team["owner"], *scopes, **fields)
    team.people["robot"] = Person(**{**vars(team["owner"]), "token": key["key"]})
    answer = await ask(team, "robot", route, ids)
    await team["owner"].delete(f"/auth/api-keys/{key['id']}")
    return answer


async def test_every_route_that_keys_may_use_is_in_the_table() -> None:
    by_key, by_session = open_to_keys()
    assert {f"{route.method} {route.path}" for route in ROUTES} == SCOPES.keys()
    tabled = {
        name.split("?")[0]
        .replace(" /", " /api/")
        .replace("{team}", "{team_id}")
        .replace("{item}", "{item_id}")
        .replace("{inv}", "{invite_id}")
        .replace("{user}", "{user_id}")
        for name in SCOPES
    }
    assert set(by_key) == tabled | BESIDES
    assert {
        "POST /api/auth/api-keys",
        "POST /api/auth/logout",
        "PATCH /api/users/me",
        "POST /api/teams",
    } <= set(by_session)


@named
async def test_with_its_scopes_a_key_may_and_without_any_one_of_them_it_may_not(
    team: Company, route: Route
) -> None:
    needed = SCOPES[f"{route.method} {route.path}"]
    answer = await with_key(team, sorted(needed), route, await things(team, route))
    assert answer.status_code == route.status, answer.text
    ids = await things(team, route)
    for scope in needed:
        refused = await with_key(team, [other for other in ALL if other != scope], route, ids)
        assert refused.status_code == 403, refused.text
        assert refused.json()["code"] in ("missing_scope", "role_above_own")
    assert (await with_key(team, [], route, ids)).json()["code"] == "missing_scope"
    answer = await with_key(team, ALL, route, ids, teamId=team.team)
    assert answer.status_code == route.status, "nothing that was refused has changed anything"


@named
async def test_a_key_of_another_team_of_the_same_user_is_a_stranger(team: Company, route: Route) -> None:
    other = await team.api.team(team["owner"])
    ids = await things(team, route)
    foreign = await with_key(team, ALL, route, ids, teamId=other)
    problem(foreign, 404, "not_found")
    refused = bare(foreign)
    strangers = await ask(team, "stranger", route, ids)
    assert refused == bare(strangers)


@pytest.mark.parametrize("role", ["viewer", "member", "admin"])
@named
async def test_no_scope_gives_a_key_what_its_users_role_does_not(
    team: Company, route: Route, role: str
) -> None:
    ids = await things(team, route)
    before = await ask(team, role, route, ids)
    key = await new_key(team[role], *ALL)
    team.people["robot"] = Person(**{**vars(team[role]), "token": key["key"]})
    answer = await ask(team, "robot", route, await things(team, route))
    if before.status_code >= 400:
        assert bare(answer) == bare(before)
    else:
        assert answer.status_code == route.status, answer.text


@pytest.mark.parametrize("route", SESSION_ONLY)
async def test_what_is_about_the_account_needs_a_session(team: Company, route: str) -> None:
    owner = team["owner"]
    key = await new_key(owner, *ALL)
    method, path = route.split(" ")
    path = path.removeprefix("/api")
    for name in ("session_id", "key_id"):
        path = path.replace(f"{{{name}}}", owner.session_id if name == "session_id" else key["id"])
    answer = await team.api.call(
        method, path, token=key["key"], json={"name": "x"} if method != "GET" else None
    )
    problem(answer, 403, "session_required")
    assert (await owner.get("/users/me")).status_code == 200, "the session is as it was"
    me = await team.api.call("GET", "/users/me", token=key["key"])
    assert me.status_code == 200, "and so is the key"


async def test_a_key_without_scopes_knows_who_it_is_and_nothing_else(team: Company) -> None:
    key = await new_key(team["owner"])
    thing = await item(team["owner"], team.team)
    assert (await team.api.call("GET", "/users/me", token=key["key"])).status_code == 200
    for path in ("/teams", "/inventory", f"/inventory/{thing['id']}", f"/users/{team['owner'].id}"):
        problem(await team.api.call("GET", path, token=key["key"]), 403, "missing_scope")
