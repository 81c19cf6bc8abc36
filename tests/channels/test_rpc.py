"""rpc: a REST handler over the live connection, with the same rights, the same audit, the same answers."""

import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from channels import client_pb2 as pb
from channels.live import Live
from domain import channels
from domain.versions import NEWEST, SUPPORTED
from tests.factories import Api, Person, item
from tests.listener import Listeners
from tests.raw import Raw, raw
from tests.raw_protobuf import raw_protobuf

# Of an answer over rpc and the same over HTTP: what is of the transport, or different each time.
OF_HTTP = {"content-length", "date", "x-request-id", "ratelimit", "vary", "transfer-encoding"}


@pytest.fixture
async def ann(api: Api) -> Person:
    return await api.person("Ann")


@pytest.fixture
async def line(url: str, ann: Person) -> AsyncIterator[Raw]:
    """Ann's live connection."""
    async with raw(url, token=ann.token, agent="a till") as client:
        yield client


async def call(client: Raw, method: str, body: Any = None, **headers: str) -> dict[str, Any]:
    """What the handler answers; header names with _ for -."""
    data: dict[str, Any] = {"headers": {name.replace("_", "-"): text for name, text in headers.items()}}
    if body is not None:
        data["body"] = body
    answer = await client.ask(rpc={"method": method, "data": data})
    assert "rpc" in answer, answer
    called: dict[str, Any] = answer["rpc"]["data"]
    return called


async def refused(client: Raw, method: str, **data: Any) -> int:
    code: int = (await client.ask(rpc={"method": method, **data}))["error"]["code"]
    return code


async def test_it_answers_what_http_answers(ann: Person, line: Raw) -> None:
    made = await call(line, "POST /api/inventory", {"name": "Beans", "quantity": 3})
    assert made["status"] == 201
    where = made["headers"]["location"]
    assert made["headers"]["x-stream-position"] == f"{channels.inventory(ann.personal_team_id)}@1"
    assert made["headers"]["etag"] == '"1"'
    over_http = await ann.get(where.removeprefix("/api"))
    over_rpc = await call(line, f"GET {where}")
    assert (over_rpc["status"], over_rpc["body"]) == (200, over_http.json())
    told = {name: text for name, text in over_http.headers.items() if name not in OF_HTTP}
    assert {name: text for name, text in over_rpc["headers"].items() if name not in OF_HTTP} == told
    same = await call(line, f"GET {where}", if_none_match=over_http.headers["ETag"])
    assert (same["status"], same["body"]) == (304, None)
    gone = await call(line, f"DELETE {where}")
    assert (gone["status"], gone["body"]) == (204, None)
    assert (await ann.get(where.removeprefix("/api"))).status_code == 404


async def test_what_it_changes_reaches_those_who_follow_and_the_caller_knows_the_position(
    url: str, ann: Person, line: Raw, listeners: Listeners
) -> None:
    stock = channels.inventory(ann.personal_team_id)
    screen = await listeners(url, ann.token)
    await screen.follow(stock)
    made = await call(line, "POST /api/inventory", {"name": "Beans", "quantity": 1})
    position = made["headers"]["x-stream-position"].removeprefix(f"{stock}@")
    await screen.until(lambda: screen.offsets(stock) == [int(position)])
    assert screen.types(stock) == ["inventory.created"]


async def test_the_audit_row_is_the_one_that_http_leaves(ann: Person, line: Raw) -> None:
    over_http = await ann.post(
        "/inventory",
        {"name": "A", "quantity": 1},
        headers={"User-Agent": "a till", "X-Request-Id": "the-first-one"},
    )
    over_rpc = await call(
        line, "POST /api/inventory", {"name": "A", "quantity": 1}, x_request_id="the-second-one"
    )
    assert (over_http.status_code, over_rpc["status"]) == (201, 201)
    assert over_rpc["headers"]["x-request-id"] == "the-second-one"
    rows = (await ann.get(f"/audit-logs?teamId={ann.personal_team_id}&action=inventory.created")).json()[
        "data"
    ]
    second, first = rows
    assert (first["requestId"], second["requestId"]) == ("the-first-one", "the-second-one")
    for field in ("userId", "sessionId", "ip", "userAgent", "action", "outcome", "keyId", "teamId"):
        assert first[field] == second[field], field
    assert (second["userAgent"], second["ip"], second["userId"]) == ("a till", "127.0.0.1", ann.id)


async def test_a_stranger_finds_nothing_and_a_viewer_may_look_but_not_touch(api: Api, url: str) -> None:
    ann, bob, eve = await api.person("Ann"), await api.person("Bob"), await api.person("Eve")
    beans = await item(ann, await api.team(ann, viewer=bob))
    path = f"/api/inventory/{beans['id']}"
    async with raw(url, token=bob.token) as viewer, raw(url, token=eve.token) as stranger:
        assert (await call(viewer, f"GET {path}"))["status"] == 200
        for_bob = await call(viewer, f"POST {path}/adjust", {"delta": 1, "reason": "x"})
        assert (for_bob["status"], for_bob["body"]["status"]) == (403, 403)
        for method in (f"GET {path}", f"DELETE {path}"):
            for_eve = await call(stranger, method)
            assert (for_eve["status"], for_eve["headers"]["content-type"]) == (
                404,
                "application/problem+json",
            )
        over_http = (await eve.get(path.removeprefix("/api"))).json()
        for_eve = await call(stranger, f"GET {path}")
        assert {**for_eve["body"], "requestId": ""} == {**over_http, "requestId": ""}


async def test_a_version_of_the_api_is_asked_for_as_over_http(line: Raw) -> None:
    newest = await call(line, "GET /api/users/me")
    asked = await call(line, "GET /api/users/me", api_version=NEWEST)
    assert (asked["status"], asked["body"]) == (200, newest["body"])
    unknown = await call(line, "GET /api/users/me", api_version="2001-01-01")
    assert (unknown["status"], unknown["body"]["code"]) == (400, "unknown_api_version")
    assert unknown["body"]["supported"] == list(SUPPORTED)


async def test_a_version_that_is_gone_is_answered_with_what_is_there(ann: Person, line: Raw) -> None:
    beans = await item(ann)
    await ann.patch(f"/inventory/{beans['id']}", {"name": "Newer"})
    stale = await call(line, f"PATCH /api/inventory/{beans['id']}", {"name": "Mine"}, if_match='"1"')
    assert (stale["status"], stale["headers"]["etag"]) == (412, '"2"')
    assert stale["body"]["current"]["name"] == "Newer"
    fresh = await call(line, f"PATCH /api/inventory/{beans['id']}", {"name": "Mine"}, **{"If-Match": '"2"'})
    assert (fresh["status"], fresh["body"]["data"]["name"]) == (200, "Mine")


@pytest.mark.parametrize(
    "method",
    [
        "",
        "GET",
        "/api/users/me",
        "GET api/users/me",
        "get /api/users/me",
        "HEAD /api/users/me",
        "OPTIONS /api/users/me",
        "CONNECT /api/users/me",
        "GET  /api/users/me",
        "GET /api/users/me ",
        "GET /api/users/me HTTP/1.1",
        "GET /api/users/me\r\nX: y",
        "GET /api/users/é",
        "GET /apiary",
        "GET /connection/sse",
        "POST /emulation",
        "GET http://127.0.0.1/api/users/me",
    ],
)
async def test_what_is_no_request_of_the_api_is_no_method(line: Raw, method: str) -> None:
    assert await refused(line, method) == 104


@pytest.mark.parametrize("path", ["/api/", "/api/nothing", "/api/../connection/sse", "/api/users/me/"])
async def test_an_address_that_leads_nowhere_is_answered_by_the_api(line: Raw, path: str) -> None:
    assert (await call(line, f"GET {path}"))["status"] in (404, 200)
    assert (await call(line, f"PUT {path}", {}))["status"] in (404, 405)


@pytest.mark.parametrize(
    "name", ["authorization", "Cookie", "host", "user-agent", "origin", "x-forwarded-for", ""]
)
async def test_headers_that_say_who_one_is_cannot_be_sent_along(line: Raw, name: str) -> None:
    assert await refused(line, "GET /api/users/me", data={"headers": {name: "x"}}) == 107


@pytest.mark.parametrize(
    "data",
    [
        [],
        1,
        "text",
        {"headers": []},
        {"headers": {"accept": 1}},
        {"headers": {"accept": "a\nb"}},
        {"headers": {"accept": "é"}},
    ],
)
async def test_data_of_another_shape_is_a_bad_request(line: Raw, data: Any) -> None:
    assert await refused(line, "GET /api/users/me", data=data) == 107


@pytest.mark.parametrize("data", [{}, {"data": None}, {"data": {}}, {"data": {"body": None}}])
async def test_a_call_without_data_is_one_without_a_body(
    ann: Person, line: Raw, data: dict[str, Any]
) -> None:
    answer = await line.ask(rpc={"method": "GET /api/users/me", **data})
    assert answer["rpc"]["data"]["body"]["data"]["id"] == ann.id


@pytest.mark.parametrize(
    "data",
    [
        b'{"body":',
        b"\xff",
        b'{"body":"\xff"}',
        b'{"body":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        b'{"x":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        b'{"body":' + b"[" * 100 + b"]" * 100 + b"}",
        b'{"body":{"name":"\\u0000"}}',
    ],
)
async def test_whatever_bytes_come_as_data_the_connection_lives_on(
    url: str, ann: Person, data: bytes
) -> None:
    async with raw_protobuf(url, token=ann.token) as client:
        answer = await client.ask(rpc=pb.RPCRequest(method="POST /api/inventory", data=data))
        if answer.HasField("error"):
            assert answer.error.code == 107
        else:
            assert json.loads(answer.rpc.data)["status"] == 400
        answer = await client.ask(rpc=pb.RPCRequest(method="GET /api/users/me"))
        assert json.loads(answer.rpc.data)["body"]["data"]["id"] == ann.id


async def test_queries_and_percent_encoding_mean_what_they_mean_over_http(ann: Person, line: Raw) -> None:
    await item(ann, name="Müller & 100 % Söhne")
    await item(ann, name="another")
    found = await call(line, f"GET /api/inventory?limit=10&query={quote('müller & 100 %')}")
    assert [thing["name"] for thing in found["body"]["data"]] == ["Müller & 100 % Söhne"]
    assert (await call(line, "GET /api/inventory?limit=0"))["status"] == 422
    assert (await call(line, "GET /api/inventory?query=%00"))["body"]["code"] == "nul_character"
    assert (await call(line, "GET /api/inventory/%FF"))["body"]["code"] == "malformed_address"
    assert (await call(line, "GET /api/%69nventory"))["status"] == 200


async def test_an_answer_beyond_the_limit_is_said_to_be_so(
    ann: Person, line: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("channels.rpc.ANSWER_BYTES_MAX", 700)
    assert (await call(line, "GET /api/users/me"))["status"] == 200
    await item(ann, name="x" * 200, category="y" * 90, attributes={"z": "z" * 700})
    assert await refused(line, "GET /api/inventory") == 106


async def test_what_is_not_json_is_answered_as_text(line: Raw) -> None:
    page = await call(line, "GET /api/docs")
    assert page["status"] == 200
    assert isinstance(page["body"], str)


async def test_a_session_that_is_over_can_call_nothing(
    url: str, live: Live, ann: Person, line: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if the news of it had not come yet.
    monkeypatch.setattr(type(live.gate), "concerns", lambda *_: "nothing")
    assert (await call(line, "GET /api/users/me"))["status"] == 200
    await ann.post("/auth/logout")
    assert (await call(line, "GET /api/users/me"))["status"] == 401
    assert (await call(line, "POST /api/inventory", {"name": "x"}))["status"] == 401


async def test_it_does_what_the_client_asked_before_and_after_in_the_same_frame(
    ann: Person, line: Raw
) -> None:
    stock = channels.inventory(ann.personal_team_id)
    line._id = 3
    await line.send(
        {"id": 1, "subscribe": {"channel": stock}},
        {
            "id": 2,
            "rpc": {"method": "POST /api/inventory", "data": {"body": {"name": "Beans", "quantity": 1}}},
        },
        {"id": 3, "history": {"channel": stock, "limit": 10}},
    )
    last = await line.reply(3)
    assert [pub["data"]["type"] for pub in last["history"]["publications"]] == ["inventory.created"]
    while not any(push["channel"] == stock for push in line.pushes):
        await line.frame()


async def test_who_is_not_connected_can_call_nothing(url: str, http: httpx.AsyncClient) -> None:
    async with raw(url) as client:
        await client.send({"id": 1, "rpc": {"method": "GET /api/health"}})
        assert await client.closed() == 3501
