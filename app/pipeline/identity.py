"""Step 2: who is asking. An access token or an API key, checked against the database as it is; or nobody.

A handler that takes `caller` is for signed-in users; one that takes `actor` also serves those who are not.
API keys pass only where a route says BY_KEY: what is about the account itself needs a session.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from litestar import Request

from app.pipeline import versions
from channels import rpc
from channels.headers import only
from channels.nobody import nobody
from domain.actor import Actor
from domain.auth import credentials
from domain.auth.tokens import Claims
from domain.errors import Unauthenticated
from domain.teams import policy

# `opt` of a route, or of all in a controller, that API keys may use; its verb asks for a scope.
BY_KEY: Final = {"by_key": True}
# `opt` of a change whose verb asks again whether its caller's session stands (domain/group_commit.py): they
# may be let in as those who only read.
ASKS_AGAIN: Final = {"asks_again": True}
# `opt` of a route that is for the platform's staff, as its handler requires; told by /api/_router.
FOR_STAFF: Final = {"for_staff": True}
# `opt` of a route that some may use who do not say who they are: request -> Actor, or None for all others.
LET_IN: Final = "let_in"


async def provide_actor(request: Request[Any, Any, Any]) -> Actor:
    """Where the request comes from; whoever sends it has not said who they are."""
    return nobody(request.scope)


async def identify(request: Request[Any, Any, Any]) -> None:
    """A before_request hook: who is asking is settled before anything that they sent is read.

    Raises Unauthenticated where the handler takes `caller` and there is no good token; Forbidden
    `session_required` where it is an API key and the route is not for those.
    """
    if "caller" in request.route_handler.parsed_fn_signature.parameters:
        let_in = request.route_handler.opt.get(LET_IN)
        known = let_in(request) if let_in is not None else None
        caller = request.scope["state"]["caller"] = known or await _caller(request)
        if not request.route_handler.opt.get("by_key"):
            # A key that makes keys would be a key for ever.
            policy.require_session(caller)


async def provide_caller(request: Request[Any, Any, Any]) -> Actor:
    """The signed-in user."""
    caller: Actor = request.scope["state"]["caller"]
    return caller


async def standing(request: Request[Any, Any, Any]) -> Callable[[], Awaitable[Actor]]:
    """For what goes on after the caller was let in: whom the session or key that they came with stands for
    each time it is asked. That raises Unauthenticated `session_over` once it is good no more.
    """
    here, caller = nobody(request.scope), await provide_caller(request)
    # An API key does not say whose it is.
    said = msgspec.structs.replace(_claims(request, here.ip), sub=caller.user)

    async def again() -> Actor:
        identity = (await credentials.identities([said])).get(said)
        if identity is None:
            raise Unauthenticated("What this began with is good no more.", code="session_over")
        return identity.acting(here)

    return again


async def _caller(request: Request[Any, Any, Any]) -> Actor:
    here = nobody(request.scope)
    is_asked_again = request.method == "GET" or request.route_handler.opt.get("asks_again")
    asked = credentials.recent if is_asked_again else credentials.identify
    identity = await asked(_claims(request, here.ip), here)
    versions.pinned(request.scope, identity.api_version)
    caller = identity.acting(here)
    if caller.is_staff and request.query_params.get("explain") == "true":
        caller = msgspec.structs.replace(caller, explain=True)
    return caller


def _claims(request: Request[Any, Any, Any], ip: str | None) -> Claims:
    """What the token says; a request that came by rpc was introduced by its connection, which had one."""
    extensions: dict[str, Any] = request.scope.get("extensions") or {}
    introduced: Claims | None = extensions.get(rpc.CLAIMS)
    if introduced is not None:
        return introduced
    scheme, _, token = (only(request.scope, b"authorization") or b"").partition(b" ")
    if scheme.lower() != b"bearer" or not token:
        raise Unauthenticated("Send `Authorization: Bearer <access token>`.", code="no_token")
    return credentials.claims(token.decode("latin-1").strip(), ip)
