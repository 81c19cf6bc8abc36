"""How much each may ask: the policies, what they are counted by, and which routes have which.

A route has what its `opt` says (LIMITED_AS_TEAMS, …); one that says nothing has `authenticated` if it takes
`caller`, else `public`. Where it has several, all of them must have room, and all are taken from.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec
from litestar.handlers import HTTPRouteHandler

from channels.live import CONNECTIONS_PER_USER

By = Literal["address", "caller", "user"]


class Policy(msgspec.Struct, frozen=True):
    """At most `limit` in any `window_s` seconds, for each address, each user or key, or each user."""

    limit: int
    by: By
    window_s: int = 60


POLICIES: Final[dict[str, Policy]] = {
    "public": Policy(100, by="address"),
    "authenticated": Policy(1000, by="caller"),
    "teams": Policy(500, by="user"),
    "create_team": Policy(10, by="user"),
}

# `opt` of a route, or of all in a controller.
LIMITED_AS_TEAMS: Final = {"limits": ("teams",)}
LIMITED_AS_CREATE_TEAM: Final = {"limits": ("teams", "create_team")}
# What probes ask, and what asks nothing of a database: pages, their files, documents.
NOT_LIMITED: Final[dict[str, Any]] = {"limits": ()}


class Limits(msgspec.Struct, frozen=True):
    """All of them. A test may have others; no configuration leads to any."""

    policies: Mapping[str, Policy]
    connections_per_user: int = CONNECTIONS_PER_USER


LIMITS: Final = Limits(POLICIES)


def takes_caller(handler: HTTPRouteHandler) -> bool:
    """Whether a route is for those who say who they are."""
    return "caller" in handler.parsed_fn_signature.parameters


def of(handler: HTTPRouteHandler) -> tuple[str, ...]:
    """The names of the policies that a route has."""
    said: tuple[str, ...] | None = handler.opt.get("limits")
    if said is not None:
        return said
    return ("authenticated",) if takes_caller(handler) else ("public",)
