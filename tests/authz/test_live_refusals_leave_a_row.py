"""What is refused on live connections is in the trail as what is refused of a request: who, from where, with
what, and in which request, which is the one that opened the connection.
"""

import json
import secrets
from typing import Final
from urllib.parse import quote

import httpx
import pytest

from tests.authz import people
from tests.authz.performing import Stage
from tests.authz.walking import AGENT, rows
from tests.keys import forged, new_key
from tests.raw import raw

TRANSPORTS: Final = ("websocket", "http_stream", "sse", "uni_sse")


async def tried(url: str, transport: str, token: str, request_id: str) -> None:
    """Ask for a connection in this way with a token that opens none, until that is said."""
    if transport == "websocket":
        async with raw(url, agent=AGENT, request_id=request_id) as client:
            await client.send({"id": 1, "connect": {"token": token}})
            assert await client.closed() == 3500
        return
    frame = json.dumps({"id": 1, "connect": {"token": token}})
    headers = {"User-Agent": AGENT, "X-Request-Id": request_id}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=10) as http:
        if transport == "http_stream":
            await http.post("/connection/http_stream", content=frame)
        else:
            query = f"cf_connect={quote(frame)}" if transport == "sse" else f"token={token}&channel=team:x"
            await http.get(f"/connection/{transport}?{query}")


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_key_that_opens_no_connection_leaves_a_row_as_over_rest(
    stage: Stage, url: str, transport: str
) -> None:
    ann = await people.someone(stage.api, "Ann")
    key = await new_key(ann, "team:read")
    request_id = f"live-{secrets.token_hex(6)}"
    await tried(url, transport, forged(key), request_id)
    [row] = await rows(request_id)
    assert (row["action"], row["outcome"], row["resource"]) == ("auth.api_key_refused", "denied", key["id"])
    assert (row["team_id"], row["ip"], row["user_agent"]) == (ann.personal_team_id, "127.0.0.1", AGENT)
