"""HEAD: wherever there is a GET (RFC 9110 section 9.3.2). Litestar answers 405."""

from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send


def answering_head(app: ASGIApp) -> ASGIApp:
    """The app, which takes HEAD for GET; the server, which still knows, leaves the body out."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        taken: Any = scope  # the union of Litestar's scope types does not survive a copy
        if scope["type"] == ScopeType.HTTP and scope["method"] == "HEAD":
            taken = {**scope, "method": "GET"}
        await app(taken, receive, send)

    return answer
