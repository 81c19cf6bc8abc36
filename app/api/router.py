"""/api/_router: what there is to ask, who may, how often, and whether twice is once; from the app itself."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
from litestar import Controller, Litestar, Request, get
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute
from msgspec import Meta

from app.api.envelope import One
from app.api.openapi import named_as_told
from app.pipeline import policies
from app.pipeline.idempotency import takes_key
from app.pipeline.policies import By, Limits
from channels.budget import FREE
from channels.commands import COMMANDS

Scope = Literal["public", "session", "session or key", "staff"]
Names = Annotated[tuple[str, ...], Meta(description="the policies that it is counted by, all of them")]
TakesKey = Annotated[bool, Meta(description="whether it takes `Idempotency-Key`")]


class PolicyShown(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A limit: so many in any window of so long, for each."""

    limit: Annotated[int, Meta(description="as many may be")]
    window_s: Annotated[int, Meta(description="in any so many seconds")]
    by: Annotated[By, Meta(description="for each address, each user or API key, or each user")]


class RouteShown(msgspec.Struct, frozen=True, kw_only=True):
    """One route."""

    method: Annotated[str, Meta(description="of HTTP")]
    path: Annotated[str, Meta(description="with parameters in braces, as OpenAPI names them")]
    scope: Annotated[Scope, Meta(description="who may ask; what comes of it is for their rights to say")]
    limits: Names
    idempotency: TakesKey


class CommandShown(msgspec.Struct, frozen=True, kw_only=True):
    """One command of an open connection."""

    command: Annotated[str, Meta(description="its name")]
    scope: Annotated[Scope, Meta(description="who may ask")]
    limits: Names
    idempotency: TakesKey


class Router(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to ask."""

    routes: Annotated[list[RouteShown], Meta(description="every route, by path and method")]
    commands: Annotated[list[CommandShown], Meta(description="every command of an open connection")]
    policies: Annotated[dict[str, PolicyShown], Meta(description="the limits, by name")]


class RouterController(Controller):
    path = "/api"
    tags = ("system",)

    @get("/_router")
    async def router(self, request: Request[Any, Any, Any]) -> One[Router]:
        """What there is to ask, who may and how often."""
        return One(data=shown(request.app))


def shown(app: Litestar) -> Router:
    """What this app answers to."""
    limits: Limits = app.state.limits
    routes = sorted(_routes(app), key=lambda route: (route.path, route.method))
    return Router(
        routes=routes,
        commands=[_command(name) for name in COMMANDS],
        policies={
            name: PolicyShown(limit=policy.limit, window_s=policy.window_s, by=policy.by)
            for name, policy in limits.policies.items()
        },
    )


def scope(handler: HTTPRouteHandler) -> Scope:
    """Who may ask a route."""
    if not policies.takes_caller(handler):
        return "public"
    if handler.opt.get("for_staff"):
        return "staff"
    return "session or key" if handler.opt.get("by_key") else "session"


def _routes(app: Litestar) -> Iterator[RouteShown]:
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for method, (handler, _) in route.route_handler_map.items():
                if method != "OPTIONS":
                    yield RouteShown(
                        method=method,
                        path=named_as_told(route.path_format),
                        scope=scope(handler),
                        limits=policies.of(handler),
                        idempotency=takes_key(handler),
                    )


def _command(name: str) -> CommandShown:
    is_rpc = name == "rpc"
    return CommandShown(
        command=name,
        scope="session or key",
        # What an rpc asks for is a route, which has limits of its own and takes the header.
        limits=() if name in FREE else ("authenticated",),
        idempotency=is_rpc,
    )
