"""What is refused on live connections is in the trail as what is refused of a request: who, from where, with
what, and in which request, which is the one that opened the connection.
"""

import asyncio
import dataclasses
import json
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import quote

import httpx
import pytest

from domain.auth import key_text
from domain.teams.denials import denials
from tests.authz import people
from tests.authz.performing import Stage
from tests.authz.walking import AGENT, rows
from tests.factories import Person
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


@dataclasses.dataclass
class Try:
    """Somebody, what they come with, a channel, and what the trail of which team calls what they lack."""

    person: Person
    token: str
    channel: str
    resource: str
    team_id: str
    metadata: dict[str, Any]


async def _a_viewer(stage: Stage) -> Try:
    acme = stage.scene.acme
    ann = await people.someone(stage.api, f"{acme.canary} viewer refused")
    await people.into(acme.team_id, ann.id, "viewer")
    told = {"role": "viewer", "times": 1}
    return Try(ann, ann.token, f"audit:{acme.team_id}", "audit:read", acme.team_id, told)


async def _a_key_without_the_scope(stage: Stage) -> Try:
    ann = await people.someone(stage.api, "Ann")
    key, team_id = await new_key(ann, "team:read"), ann.personal_team_id
    told = {"role": "owner", "times": 1}
    return Try(ann, key["key"], f"inventory:{team_id}", "inventory:read", team_id, told)


async def _a_key_in_person(stage: Stage) -> Try:
    ann = await people.someone(stage.api, "Ann")
    key = await new_key(ann, "team:read")
    return Try(ann, key["key"], f"notifications:{ann.id}", "session", ann.personal_team_id, {"times": 1})


async def _whoever_is_not_staff(stage: Stage) -> Try:
    ann = await people.someone(stage.api, "Curious")
    return Try(ann, ann.token, "audit:all", "staff", ann.personal_team_id, {"times": 1})


async def _a_key_of_staff(stage: Stage) -> Try:
    ann = await people.someone(stage.api, "Staff", staff=True)
    key = await new_key(ann, "audit:read")
    return Try(ann, key["key"], "system:health", "session", ann.personal_team_id, {"times": 1})


REFUSED: Final = (
    _a_viewer,
    _a_key_without_the_scope,
    _a_key_in_person,
    _whoever_is_not_staff,
    _a_key_of_staff,
)


@pytest.mark.parametrize("who", REFUSED, ids=lambda who: who.__name__)
@pytest.mark.parametrize("command", ["subscribe", "history", "presence", "uni_sse"])
async def test_who_may_not_follow_leaves_a_row(
    stage: Stage, url: str, who: Callable[[Stage], Awaitable[Try]], command: str
) -> None:
    it, request_id = await who(stage), f"live-{secrets.token_hex(6)}"
    if command == "uni_sse":
        headers = {"User-Agent": AGENT, "X-Request-Id": request_id}
        query = {"token": it.token, "channel": it.channel}
        got = await stage.api.http.get("/connection/uni_sse", params=query, headers=headers)
        assert got.status_code == 403
    else:
        async with raw(url, token=it.token, agent=AGENT, request_id=request_id) as client:
            answer = await client.ask(**{command: {"channel": it.channel}})
            assert answer["error"]["code"] == 103
    await denials.write()
    [row] = await rows(request_id)
    assert (row["action"], row["outcome"], row["resource"]) == ("teams.access_denied", "denied", it.resource)
    assert (row["team_id"], row["user_id"], row["metadata"]) == (it.team_id, it.person.id, it.metadata)
    assert (row["ip"], row["user_agent"]) == ("127.0.0.1", AGENT)
    is_key = it.token.startswith("mk_")
    assert row["session_id"] == (None if is_key else it.person.session_id)
    assert row["key_id"] == (key_text.id_of(it.token) if is_key else None)


async def test_strangers_leave_none_nor_does_what_is_no_channel(stage: Stage, url: str) -> None:
    request_id, acme = f"live-{secrets.token_hex(6)}", stage.scene.acme
    async with raw(url, token=stage.scene.former.token, request_id=request_id) as client:
        for channel in (f"audit:{acme.team_id}", f"team:{acme.team_id}", f"user:{acme.owner.id}", "audit:x"):
            answer = await client.ask(subscribe={"channel": channel})
            assert answer["error"]["code"] in (102, 103)
    await denials.write()
    assert await rows(request_id) == []


async def test_a_right_that_ends_on_an_open_screen_is_nobodys_try(stage: Stage, url: str) -> None:
    acme, request_id = stage.scene.acme, f"live-{secrets.token_hex(6)}"
    ann = await people.someone(stage.api, f"{acme.canary} demoted")
    await people.into(acme.team_id, ann.id, "admin")
    async with raw(url, token=ann.token, request_id=request_id) as client:
        assert "subscribe" in await client.ask(subscribe={"channel": f"audit:{acme.team_id}"})
        demoted = await acme.owner.put(f"/teams/{acme.team_id}/members/{ann.id}", {"role": "viewer"})
        assert demoted.status_code == 200, demoted.text
        async with asyncio.timeout(20):
            while not any("unsubscribe" in push for push in client.pushes):
                await client.frame()
    await denials.write()
    assert await rows(request_id) == []
