"""Step 2: who is asking. A bearer token, checked against the session it names as it is now; or nobody.

A handler that takes `caller` is for signed-in users; one that takes `actor` also serves those who are not.
"""

from typing import Any

from litestar import Request

from app.pipeline.request_id import request_id
from channels import rpc
from domain.actor import Actor
from domain.auth import sessions
from domain.auth.tokens import Claims
from domain.errors import Unauthenticated

USER_AGENT_MAX = 400


async def provide_actor(request: Request[Any, Any, Any]) -> Actor:
    """Where the request comes from; whoever sends it has not said who they are."""
    agent = request.headers.get("user-agent")
    return Actor(
        ip=request.client.host if request.client else None,
        user_agent=agent[:USER_AGENT_MAX] if agent else None,
        request_id=request_id(request.scope),
    )


async def identify(request: Request[Any, Any, Any]) -> None:
    """A before_request hook: who is asking is settled before anything that they sent is read.

    Raises Unauthenticated where the handler takes `caller` and there is no good access token.
    """
    if "caller" in request.route_handler.parsed_fn_signature.parameters:
        request.scope["state"]["caller"] = await _caller(request)


async def provide_caller(request: Request[Any, Any, Any]) -> Actor:
    """The signed-in user."""
    caller: Actor = request.scope["state"]["caller"]
    return caller


async def _caller(request: Request[Any, Any, Any]) -> Actor:
    identity = await sessions.identify(_claims(request))
    nobody = await provide_actor(request)
    return Actor(
        user_id=identity.user_id,
        session_id=identity.session_id,
        personal_team_id=identity.personal_team_id,
        is_staff=identity.is_staff,
        ip=nobody.ip,
        user_agent=nobody.user_agent,
        request_id=nobody.request_id,
    )


def _claims(request: Request[Any, Any, Any]) -> Claims:
    """What the token says; a request that came by rpc was introduced by its connection, which had one."""
    extensions: dict[str, Any] = request.scope.get("extensions") or {}
    introduced: Claims | None = extensions.get(rpc.CLAIMS)
    if introduced is not None:
        return introduced
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated("Send `Authorization: Bearer <access token>`.", code="no_token")
    return sessions.claims(token.strip())
