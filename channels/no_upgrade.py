"""GET /connection/websocket without an upgrade: there is nothing to get, and it says what to do instead.

What does ask for an upgrade never comes here (app/pipeline/door.py).
"""

from typing import NoReturn

from litestar import get
from litestar.exceptions import HTTPException

from channels.emulation import LIMITED_BY_COMMAND, as_it_is
from channels.handshake import PATH


@get(PATH, before_request=as_it_is, opt=LIMITED_BY_COMMAND, include_in_schema=False)
async def connection_websocket() -> NoReturn:
    """Where websockets are opened: 426 for what opens none."""
    raise HTTPException(
        status_code=426,
        detail="Websockets are opened here: ask for an upgrade.",
        # RFC 9110 section 15.5.22: it names the protocol.
        headers={"Upgrade": "websocket", "Connection": "Upgrade"},
    )
