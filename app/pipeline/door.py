"""The door: what Litestar does not do, or does too slowly, before anything reaches its routes.

HEAD works wherever there is a GET (RFC 9110 section 9.3.2); Litestar answers 405. Websockets go straight to
where they are served.
"""

from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send


def at_the_door(app: ASGIApp, websocket: ASGIApp) -> ASGIApp:
    """The app, which takes HEAD for GET; the server, which still knows, leaves the body out."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.WEBSOCKET:
            await websocket(scope, receive, send)
            return
        taken: Any = scope  # the union of Litestar's scope types does not survive a copy
        # What streams is at other addresses: a HEAD there would open a stream without a body.
        if scope["method"] == "HEAD" and scope["path"].startswith(("/api/", "/auth/")):
            taken = {**scope, "method": "GET"}
        await app(taken, receive, send)

    return answer
