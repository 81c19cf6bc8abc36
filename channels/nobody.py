"""Where something comes from, before it has said who it is: a request, or what opens a connection."""

from typing import Any, Final

from channels.headers import sent
from channels.request_ids import request_id
from domain.actor import Actor, source

USER_AGENT_MAX: Final = 400


def nobody(scope: Any) -> Actor:
    """The actor of an ASGI scope, of HTTP or of a websocket."""
    agent, client = sent(scope, b"user-agent"), scope.get("client")  # ASGI may leave it out
    return Actor(
        ip=source(client[0]) if client else None,
        user_agent=agent[:USER_AGENT_MAX].decode("latin-1") if agent else None,
        request_id=request_id(scope),
    )
