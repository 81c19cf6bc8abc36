"""/api/_router says what there is: routes and commands, who may, how often, and whether twice is once."""

import json
import re
from typing import Any

import msgspec
import pytest
from litestar import Litestar
from litestar.routes import HTTPRoute

from app.api.router import shown
from app.config import Config
from app.main import create_app
from app.pipeline.policies import POLICIES
from channels import protocol
from channels.commands import COMMANDS
from tests import routes_page
from tests.authz import matrix
from tests.conftest import Served
from tests.factories import Api


def as_told(route: str) -> str:
    """`{item_id}` is `{itemId}` for clients."""
    return re.sub(r"_([a-z])(?=\w*})", lambda after: after[1].upper(), route)


@pytest.fixture(scope="module")
def app() -> Litestar:
    return create_app(Config(database_url="postgresql://", redis_url="redis://", jwt_secret="x" * 32))


@pytest.fixture(scope="module")
def told(app: Litestar) -> dict[str, Any]:
    data: dict[str, Any] = msgspec.to_builtins(shown(app))
    return data


async def test_it_is_told_to_everybody(api: Api, served: Served) -> None:
    answer = await api.call("GET", "/_router")
    assert answer.status_code == 200
    assert answer.json()["data"] == json.loads(msgspec.json.encode(shown(served.app)))


def test_every_route_there_is_and_every_one_of_the_contract_is_told(
    app: Litestar, told: dict[str, Any]
) -> None:
    there = {
        f"{method} {route.path_format}"
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for method in route.route_handler_map
        if method != "OPTIONS"
    }
    routes = [f"{route['method']} {route['path']}" for route in told["routes"]]
    assert len(routes) == len(set(routes))
    assert set(routes) == set(map(as_told, there))
    assert set(routes) == set(routes_page.listed(routes_page.PAGE.read_text()))


async def test_parameters_have_the_names_that_openapi_gives_them(api: Api, told: dict[str, Any]) -> None:
    document = (await api.call("GET", "/docs/openapi.json")).json()
    described = {
        f"{method.upper()} {path}" for path, operations in document["paths"].items() for method in operations
    }
    assert "DELETE /api/auth/sessions/{sessionId}" in described
    assert described <= {f"{route['method']} {route['path']}" for route in told["routes"]}


def test_what_is_for_staff_says_so(told: dict[str, Any]) -> None:
    said = {f"{one['method']} {one['path']}" for one in told["routes"] if one["scope"] == "staff"}
    rows = {as_told(route.route) for route in matrix.read().routes if route.section == "staff"}
    assert said == rows
    assert len(said) >= 3


def test_every_command_is_told(told: dict[str, Any]) -> None:
    commands = {command["command"]: command for command in told["commands"]}
    assert set(commands) == set(COMMANDS) <= set(protocol.Command.__struct_fields__)
    free = {name for name, command in commands.items() if not command["limits"]}
    assert free == {"rpc", "unsubscribe"}


def test_every_policy_is_of_use_and_every_name_is_of_a_policy(told: dict[str, Any]) -> None:
    used = {name for one in (*told["routes"], *told["commands"]) for name in one["limits"]}
    assert used == set(POLICIES) == set(told["policies"])
    assert told["policies"]["teams"]["by"] == "user"
    assert told["policies"]["teams"]["windowS"] == 60


@pytest.mark.parametrize(
    ("route", "scope", "limits", "idempotency"),
    [
        ("POST /api/auth/login", "public", ["public"], True),
        ("POST /api/auth/magic-link", "public", ["public"], True),
        ("POST /api/auth/password/forgot", "public", ["public"], True),
        ("POST /api/invites/ask-again", "public", ["public"], True),
        ("POST /api/auth/verify-email/resend", "session", ["authenticated"], True),
        ("GET /api/auth/api-keys", "session", ["authenticated"], False),
        ("GET /api/inventory", "session or key", ["authenticated"], False),
        ("PATCH /api/inventory/{itemId}", "session or key", ["authenticated"], True),
        ("POST /api/teams", "session", ["teams", "create_team"], True),
        ("PUT /api/teams/{teamId}/roles/{role}", "session or key", ["teams"], True),
        ("GET /api/users", "staff", ["authenticated"], False),
        ("GET /api/metrics", "staff", [], False),
        ("GET /api/health", "public", [], False),
        ("GET /api/docs/openapi.json", "public", [], False),
        ("POST /emulation", "public", [], False),
    ],
)
def test_a_route_says_who_may_how_often_and_whether_twice_is_once(
    told: dict[str, Any], route: str, scope: str, limits: list[str], idempotency: bool
) -> None:
    [said] = [one for one in told["routes"] if f"{one['method']} {one['path']}" == route]
    assert (said["scope"], list(said["limits"]), said["idempotency"]) == (scope, limits, idempotency)


def test_only_what_probes_and_browsers_load_is_asked_without_a_limit(told: dict[str, Any]) -> None:
    unlimited = {route["path"] for route in told["routes"] if not route["limits"]}
    begins = (
        "/api/health",
        "/api/metrics",
        "/api/version",
        "/api/docs",
        "/auth/",
        "/connection/",
        "/emulation",
    )
    assert {path for path in unlimited if not path.startswith(begins)} == set()
