"""Transports that only go down, and the way up beside them: HTTP streaming, SSE, /emulation."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from app.config import Config
from app.embedded import Embedded
from channels import client_pb2 as pb
from channels.encoding import STREAM_JSON
from channels.gate import Gate
from channels.live import Live
from channels.send_wire import StreamWire
from domain import channels
from tests.channels.conftest import Stream as Entries
from tests.conftest import ORIGIN
from tests.factories import Api
from tests.nodes import KindsGate, Node, node, until
from tests.raw import raw
from tests.raw_protobuf import packed
from tests.streaming import PROTOBUF, protobuf_messages, protobuf_uplink, streaming

TRANSPORTS = ["http_stream", "sse"]
FOREIGN = "https://evil.example"


@pytest.fixture
async def other(config: Config, url: str) -> AsyncIterator[Node]:
    """Another node beside the app under test."""
    async with node(config.redis_url or "", Gate()) as started:
        await until(lambda: started.live.relay.bus.listening)
        yield started


@pytest.fixture
def own_redis(ground: Path, request: pytest.FixtureRequest) -> Iterator[Embedded]:
    with Embedded(ground / request.node.name[:20], postgres=False) as started:
        yield started


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_commands_go_up_to_any_process_and_answers_come_down(
    url: str, stream: Entries, other: Node, transport: str
) -> None:
    async with streaming(url, stream.ann.token, transport=transport) as screen:
        assert screen.response.headers["cache-control"] == "no-store"
        assert screen.response.headers["x-accel-buffering"] == "no"
        assert len(screen.session) >= 32
        assert screen.node
        answer = await screen.ask(subscribe={"channel": stream.channel, "recover": True, "offset": 8})
        assert [pub["offset"] for pub in answer["subscribe"]["publications"]] == [9, 10]
        await stream.append(1)
        assert (await screen.push("pub"))["pub"]["offset"] == 11
        answer = await screen.ask(url=other.url, history={"channel": stream.channel, "limit": 1})
        assert answer["history"]["offset"] == 11, "though it came up elsewhere"
        answer = await screen.ask(url=other.url, rpc={"method": "GET /api/users/me"})
        assert answer["rpc"]["data"]["body"]["data"]["id"] == stream.ann.id
        assert (await screen.ask(unsubscribe={"channel": stream.channel}))["unsubscribe"] == {}


async def test_the_first_frame_may_hold_more_than_connect(url: str, stream: Entries) -> None:
    more = {"id": 2, "subscribe": {"channel": stream.channel}}
    async with streaming(url, stream.ann.token, more=(more,)) as screen:
        assert (await screen.until("subscribe"))["offset"] == 10


async def test_a_stream_in_protobuf_says_the_same(url: str, stream: Entries) -> None:
    first = packed(pb.Command(id=1, connect=pb.ConnectRequest(token=stream.ann.token)))
    headers = {"content-type": PROTOBUF}
    async with (
        httpx.AsyncClient(base_url=url, timeout=15) as http,
        http.stream("POST", "/connection/http_stream", content=first, headers=headers) as response,
    ):
        assert response.headers["content-type"] == PROTOBUF
        coming = protobuf_messages(response)
        connected = (await anext(coming)).connect
        assert connected.session
        asked = pb.Command(id=2, subscribe=pb.SubscribeRequest(channel=stream.channel))
        up = protobuf_uplink(connected.session, connected.node, asked)
        assert (await http.post("/emulation", content=up, headers=headers)).status_code == 204
        assert (await anext(coming)).subscribe.offset == 10
        await stream.append(1)
        assert (await anext(coming)).push.pub.offset == 11
        up = protobuf_uplink(connected.session, connected.node, pb.Command(id=3))
        assert (await http.post("/emulation", content=up, headers=headers)).status_code == 204
        last = (await anext(coming)).push.disconnect
        assert (last.code, last.reason, last.reconnect) == (3501, "bad request", False)
        with pytest.raises(StopAsyncIteration):
            await anext(coming)


async def test_a_websocket_is_told_of_no_session(api: Api, url: str) -> None:
    ann = await api.person("Ann")
    async with raw(url) as client:
        answer = (await client.ask(connect={"token": ann.token}))["connect"]
        assert not {"session", "node"} & set(answer)


async def test_what_goes_up_to_nobody_is_not_found(api: Api, url: str, other: Node) -> None:
    ann = await api.person("Ann")
    async with streaming(url, ann.token) as screen:
        assert await screen.post({}, session="another") == 404
        assert await screen.post({}, node="another") == 404
        assert await screen.post({}, node="") == 404
        assert await screen.post({}, session="another", url=other.url) == 204, "that node is there"
        assert "history" in await screen.ask(history={"channel": channels.user(ann.id)}), "and it lives on"


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", {}, 400),
        (b"nonsense", {}, 400),
        (b"[]", {}, 400),
        (b'{"session":1,"node":"n","data":""}', {}, 400),
        (b'{"session":"s","node":"n"}', {}, 400),
        (b'{"session":"s","node":"\\ud800","data":""}', {}, 400),
        (b'{"x":' + b"[" * 50_000, {}, 400),
        (b'{"session":"s","node":"n","data":{"x":' + b"[" * 50_000, {}, 400),
        (b"\xff\xff", {"content-type": PROTOBUF}, 400),
        (json.dumps({"session": "s", "node": "n", "data": "x" * 65_537}).encode(), {}, 413),
        (b"x" * 200_000, {}, 413),
    ],
)
async def test_garbage_that_goes_up_is_refused(
    http: httpx.AsyncClient, body: bytes, headers: dict[str, str], status: int
) -> None:
    assert (await http.post("/emulation", content=body, headers=headers)).status_code == status


async def test_a_first_frame_beyond_the_limit_is_refused(http: httpx.AsyncClient) -> None:
    frame = "x" * 65_537
    assert (await http.post("/connection/http_stream", content=frame)).status_code == 413
    where = http.base_url
    reader, writer = await asyncio.open_connection(where.host, where.port)
    writer.write(f"GET /connection/sse?cf_connect={frame} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert b" 400 " in await reader.readline(), "longer than the server takes an address"
    writer.close()


@pytest.mark.parametrize("path", ["/emulation", "/connection/http_stream"])
async def test_who_sends_a_frame_bit_by_bit_is_not_waited_for_for_ever(
    url: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("channels.emulation.UPLOAD_WITHIN_S", 0.05)
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    writer.write(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{{".encode())
    assert b" 408 " in await reader.readline()
    writer.close()


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(("origin", "status"), [(ORIGIN, 200), (FOREIGN, 403), ("null", 403)])
async def test_pages_of_other_origins_get_no_stream(
    api: Api, url: str, transport: str, origin: str, status: int
) -> None:
    ann = await api.person("Ann")
    async with streaming(url, ann.token, transport=transport, headers={"Origin": origin}) as screen:
        assert screen.response.status_code == status
        assert screen.response.headers.get("access-control-allow-origin") == (
            ORIGIN if status == 200 else None
        )


@pytest.mark.parametrize("path", ["/connection/http_stream", "/emulation"])
@pytest.mark.parametrize(("origin", "allowed"), [(ORIGIN, True), (FOREIGN, False)])
async def test_a_browser_that_asks_first_is_told_whether_it_may(
    http: httpx.AsyncClient, path: str, origin: str, allowed: bool
) -> None:
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    asked["Access-Control-Request-Headers"] = "content-type"
    answer = await http.options(path, headers=asked)
    assert (answer.headers.get("access-control-allow-origin") == origin) is allowed
    assert answer.is_success is allowed


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_client_that_goes_away_is_forgotten(api: Api, url: str, live: Live, transport: str) -> None:
    ann = await api.person("Ann")
    here = f"presence:{ann.personal_team_id}"
    async with streaming(url, ann.token, transport=transport) as screen:
        await screen.ask(subscribe={"channel": here})
        [connection] = [each for each in live.connections if here in each.subscriptions]
        assert len(await live.relay.presence.of(here)) == 1
        session = (screen.session, screen.node)
    await until(lambda: connection not in live.connections)
    assert connection.gone
    connection.left(lingers=False)  # once more, and harmless: it lingers already
    assert len(await live.relay.presence.of(here)) == 1, "for a while, since it may be back"
    assert not await live.emulation.deliver(session[1], session[0], b"{}")


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    ("frame", "code"),
    [({"id": 5}, 3501), ({"send": {}}, 3508), ({}, 3501), ({"id": 5, "refresh": {"token": "x"}}, 3500)],
)
async def test_the_last_word_is_a_push_and_then_the_stream_ends(
    api: Api, url: str, live: Live, transport: str, frame: dict[str, Any], code: int
) -> None:
    ann = await api.person("Ann")
    async with streaming(url, ann.token, transport=transport) as screen:
        session = screen.session
        assert await screen.post(frame) == 204
        [*_, last] = await screen.end()
        assert last["push"]["disconnect"]["code"] == code
        assert last["push"]["disconnect"]["reason"]
        assert "channel" not in last["push"]
        await until(lambda: session not in live.emulation._inboxes)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_first_frame_that_is_none_ends_at_once(url: str, transport: str) -> None:
    async with streaming(url, None, transport=transport) as screen:
        assert (await screen.end())[-1]["push"]["disconnect"]["code"] == 3501


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_pings_come_down_and_pongs_go_up(
    api: Api, url: str, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("channels.pulse.PING_EVERY_S", 0.05)
    monkeypatch.setattr("channels.pulse.PONG_WITHIN_S", 1.0)
    ann = await api.person("Ann")
    async with streaming(url, ann.token, transport=transport) as screen:
        for _ in range(3):
            while await screen.read() != {}:
                pass
            assert await screen.post({}) == 204
        [*_, last] = await screen.end()
        assert last["push"]["disconnect"]["code"] == 3012, "the fourth was not answered"


async def test_more_frames_than_are_carried_out_are_the_end_and_one_may_come_back(
    api: Api, url: str, live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("channels.emulation.INBOX_FRAMES_MAX", 3)
    ann = await api.person("Ann")
    async with streaming(url, ann.token) as screen:
        for _ in range(5):
            await live.emulation.deliver(screen.node, screen.session, b'{"id":9,"ping":{}}')
        [*_, last] = await screen.end()
        assert last["push"]["disconnect"] == {
            "code": 3004,
            "reason": "internal server error",
            "reconnect": True,
        }


async def test_one_that_stops_reading_is_cut_off_and_others_are_not_held_up(
    url: str, live: Live, stream: Entries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("channels.pace.BEHIND_FOR_S", 0.5)
    monkeypatch.setattr("channels.send_wire.LAST_WORD_WITHIN_S", 0.2)
    where = urlsplit(url)
    plug = socket.socket()
    plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plug.setblocking(False)
    await asyncio.get_running_loop().sock_connect(plug, (where.hostname, where.port))
    frame = "\n".join(
        json.dumps(command)
        for command in (
            {"id": 1, "connect": {"token": stream.ann.token}},
            {"id": 2, "subscribe": {"channel": stream.channel}},
        )
    ).encode()
    asked = "POST /connection/http_stream HTTP/1.1"
    head = f"{asked}\r\nHost: [::1]\r\nContent-Length: {len(frame)}\r\n\r\n".encode()
    await asyncio.get_running_loop().sock_sendall(plug, head + frame)
    async with raw(url, token=stream.ann.token) as fast:
        await fast.ask(subscribe={"channel": stream.channel})
        await until(lambda: len(_following(live, stream)) == 2)
        [slow] = [each for each in _following(live, stream) if each.uplink is not None]
        for _ in range(30):
            await stream.append(10, size=20_000)
        while not fast.pushes or fast.pushes[-1]["pub"]["offset"] < stream.top:
            await fast.frame()
        await until(lambda: slow not in live.connections)
        await until(slow._wire._sending.done)
        got = await _rest(plug)
        assert b'"offset":11' in got, "what the kernel had taken is there"
        assert b'"disconnect"' not in got, "but no end: it was cut off"
        assert len(fast.pushes) == 300
    plug.close()


async def _rest(plug: socket.socket) -> bytes:
    """What is left to read; a reset ends it like a close."""
    got = b""
    with contextlib.suppress(ConnectionResetError):
        while part := await asyncio.wait_for(asyncio.get_running_loop().sock_recv(plug, 65_536), 5):
            got += part
    return got


async def test_a_last_word_that_is_not_taken_has_not_been_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("channels.send_wire.LAST_WORD_WITHIN_S", 0.01)
    said: list[Any] = []

    async def send(message: Any) -> None:
        said.append(message)
        await asyncio.Event().wait()

    stuck = StreamWire(send, STREAM_JSON)
    stuck.hang_up(3008)
    await until(lambda: said)
    assert not await stuck.ended(), "else nobody would cut it off"
    assert len(said) == 1

    async def take(message: Any) -> None:
        said.append(message)

    reads = StreamWire(take, STREAM_JSON)
    reads.hang_up(3008)
    assert await reads.ended()
    assert said[-1]["body"].endswith(b"}}}\n")


def _following(live: Live, stream: Entries) -> list[Any]:
    return [each for each in live.connections if stream.channel in each.subscriptions]


async def test_while_redis_is_away_the_way_to_another_node_is_unavailable_and_to_this_one_is_not(
    own_redis: Embedded, url: str
) -> None:
    assert own_redis.redis is not None
    async with node(own_redis.redis_url or "", KindsGate()) as lone:
        await until(lambda: lone.live.relay.bus.listening)
        async with streaming(lone.url, "ann") as screen:
            own_redis.redis.stop()
            assert await screen.post({}, node="another") == 503
            assert "error" in await screen.ask(ping={})
