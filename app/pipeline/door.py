"""The door: what Litestar does not do, or does too slowly, before anything reaches its routes.

Whoever names another host is turned away. HEAD works wherever there is a GET (RFC 9110 section 9.3.2), for
which Litestar answers 405. OPTIONS says all that may be asked of a path, and a browser whether a page may.
Websockets go straight to where they are served.
"""

import time
from typing import Any, Final

from litestar import Litestar, Request
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException, MethodNotAllowedException
from litestar.types import ASGIApp, Receive, Scope, Send
from litestar.utils import normalize_path

from app.pipeline import seen
from app.pipeline.cors import Cors, is_preflight
from app.pipeline.errors import from_litestar, refused
from app.pipeline.hosts import Hosts
from app.pipeline.methods import allow, is_head_taken
from channels.handshake import PATH
from channels.request_ids import request_id
from domain import behalf
from domain.errors import DomainError

EVERY_HOST: Final = Hosts(None)
NO_PAGES: Final = Cors(())


def at_the_door(
    app: ASGIApp, websocket: ASGIApp, hosts: Hosts = EVERY_HOST, cors: Cors = NO_PAGES
) -> ASGIApp:
    """The app, behind the door. HEAD is taken for GET; the server, which still knows, leaves the body out."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            hosts.check(scope)
            if scope["type"] == ScopeType.WEBSOCKET:
                await websocket(scope, receive, send)
                return
            if scope["method"] == "OPTIONS":
                await _options(scope, send, cors)
                return
        except (DomainError, HTTPException) as error:
            await _refuse(scope, receive, send, error)
            return
        taken: Any = scope  # the union of Litestar's scope types does not survive a copy
        if scope["method"] == "HEAD" and is_head_taken(scope["path"]):
            taken = {**scope, "method": "GET"}
        try:
            await app(taken, receive, send)
        finally:
            if taken is not scope:
                # Which route it was is found on the way; who watches from outside wants to know (seen.py).
                scope["path_template"] = taken.get("path_template", "")

    return answer


async def _options(scope: Any, send: Any, cors: Cors) -> None:
    """204 with what may be asked. Raises Forbidden, NotFoundException."""
    headers = []
    if is_preflight(scope):
        cors.check(scope)
    else:
        headers.append((b"allow", allow(_methods(scope), scope["path"]).encode()))
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _methods(scope: Any) -> list[str]:
    """What there are handlers for. Litestar's own OPTIONS names the methods of one of them only."""
    app: Litestar = scope["litestar_app"]
    try:
        # No route has it, so the router says which there are; only a refusal does.
        app.asgi_router.handle_routing(path=normalize_path(scope["path"]), method="TRACE")
    except MethodNotAllowedException as refusal:
        return (refusal.headers or {})["allow"].split(", ")
    raise AssertionError("TRACE is nobody's method")


async def _refuse(scope: Any, receive: Any, send: Any, error: DomainError | HTTPException) -> None:
    if scope["type"] == ScopeType.WEBSOCKET:
        await _refuse_handshake(scope, receive, send, error)
    else:
        await _answer(scope, receive, send, error)


async def _refuse_handshake(scope: Any, receive: Any, send: Any, error: DomainError | HTTPException) -> None:
    """With an answer like any other (ASGI's websocket.http.response), which is seen like any other."""
    began = time.perf_counter()

    async def say(message: Any) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"connection", b"close")]
        await send({**message, "type": f"websocket.{message['type']}"})

    await receive()
    # What everybody reads who makes an answer: it is a GET (RFC 6455 section 4.1), of a route of ours or not.
    scope |= {"method": "GET", "path_template": PATH if scope["path"] == PATH else ""}
    answer = seen.Answer(say)
    with behalf.working_for(request_id(scope)):
        await _answer({**scope, "type": "http"}, receive, answer.send, error)
        seen.tell(scope, answer, time.perf_counter() - began)


async def _answer(scope: Any, receive: Any, send: Any, error: DomainError | HTTPException) -> None:
    request: Request[Any, Any, Any] = Request(scope, receive, send)
    response = refused(request, error) if isinstance(error, DomainError) else from_litestar(request, error)
    await response.to_asgi_response(app=None, request=request)(scope, receive, send)
