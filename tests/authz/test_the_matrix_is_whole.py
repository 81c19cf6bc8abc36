"""The matrix has every route and every websocket command that there is, and no other; and the policy says so.

A route that is added without a row fails here, and so does a right that changes without its row.
"""

import pytest
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from app.api import asyncapi
from app.config import Config
from app.main import create_app
from channels import commands, protocol
from domain.channels import KINDS
from domain.teams.policy import LEAST
from tests.authz import matrix
from tests.authz.matrix import ROLES, Channel, Route, granted

MATRIX = matrix.read()


def handlers() -> dict[str, HTTPRouteHandler]:
    """Every route of the application by its name, pages and files among them."""
    app = create_app(Config(database_url="postgresql://", redis_url="redis://", jwt_secret="x" * 32))
    return {
        f"{method} {route.path_format}": handler
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for method, (handler, _) in route.route_handler_map.items()
        if method != "OPTIONS"
    }


def test_every_route_has_its_row_and_every_row_its_route() -> None:
    there, rows = set(handlers()), {route.route for route in MATRIX.routes}
    assert sorted(there - rows) == [], "routes without a row in tests/authz_matrix.toml"
    assert sorted(rows - there) == [], "rows without a route"
    names = [route.name for route in MATRIX.routes]
    assert len(names) == len(set(names)), "a row stands in one section"


def test_every_command_and_every_kind_of_channel_has_its_row() -> None:
    named = {command.name: command for command in MATRIX.commands}
    assert set(named) == set(protocol.Command.__struct_fields__) - {"id"}
    refused = {name for name, command in named.items() if command.about == "nothing"}
    assert set(named) - refused == set(commands.COMMANDS), "the others are refused to everybody"
    assert set(asyncapi.COMMANDS) | {"publish"} == set(commands.COMMANDS)
    assert {channel.name for channel in MATRIX.channels} == set(KINDS)


@pytest.mark.parametrize("route", MATRIX.of("team"), ids=lambda route: route.name)
def test_what_a_row_says_of_roles_is_what_the_policy_says(route: Route) -> None:
    assert route.needs in LEAST
    assert tuple(route.roles) == ROLES
    let_in = {role for role, status in route.roles.items() if status != 403}
    assert let_in == {role for role in ROLES if route.needs in granted(role)}


@pytest.mark.parametrize("channel", MATRIX.channels, ids=lambda channel: channel.name)
def test_what_a_row_says_of_a_channel_is_what_its_kind_says(channel: Channel) -> None:
    kind = KINDS[channel.name]
    assert (channel.owner, channel.needs) == (kind.owner, kind.permission)
    if channel.owner == "team":
        assert tuple(channel.roles) == ROLES
        let_in = {role for role, answer in channel.roles.items() if answer == "ok"}
        assert let_in == {role for role in ROLES if (kind.permission or "team:read") in granted(role)}


def test_a_row_is_in_the_section_of_those_whom_its_route_takes() -> None:
    there = handlers()
    for route in MATRIX.routes:
        asks_who = "caller" in there[route.route].parsed_fn_signature.parameters
        assert asks_who == (route.section in ("team", "account", "staff")), route.name
        if asks_who:
            assert bool(there[route.route].opt.get("by_key")) == route.is_for_keys, route.name
