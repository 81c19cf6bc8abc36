"""Protobuf over a websocket: the same as in JSON, read by the official SDK and by hand."""

import json
from typing import Any

import pytest
import websockets

from channels import client_pb2 as pb
from channels import protobuf_format
from domain import channels
from tests.channels.conftest import Stream
from tests.factories import Api, item
from tests.listener import Listeners
from tests.raw_protobuf import SUBPROTOCOL, packed, raw_protobuf


@pytest.mark.parametrize(
    ("offered", "query", "echoed"),
    [
        ([SUBPROTOCOL], "", SUBPROTOCOL),
        ([SUBPROTOCOL, "centrifuge-json"], "", SUBPROTOCOL),
        (["another", SUBPROTOCOL], "?cf_protocol=json", SUBPROTOCOL),
        (None, "?cf_protocol=protobuf", None),
        (None, "?format=protobuf", None),
    ],
)
async def test_protobuf_is_chosen_by_subprotocol_or_query(
    api: Api, url: str, offered: list[str] | None, query: str, echoed: str | None
) -> None:
    ann = await api.person("Ann")
    async with raw_protobuf(url, token=ann.token, subprotocols=offered, query=query) as client:
        assert client.socket.subprotocol == echoed


@pytest.mark.parametrize(
    ("offered", "query", "echoed"),
    [
        (None, "", None),
        (["centrifuge-json"], "", "centrifuge-json"),
        (["another"], "?format=json", None),
        (None, "?cf_protocol=another", None),
    ],
)
async def test_everything_else_is_json(
    api: Api, url: str, offered: list[Any] | None, query: str, echoed: str | None
) -> None:
    ann = await api.person("Ann")
    where = f"{url.replace('http', 'ws', 1)}/connection/websocket{query}"
    async with websockets.connect(where, subprotocols=offered) as socket:
        await socket.send(json.dumps({"id": 1, "connect": {"token": ann.token}}))
        said = await socket.recv()
        assert isinstance(said, str), "JSON goes in text frames"
        assert "connect" in json.loads(said)
        assert socket.subprotocol == echoed


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x00",
        b"\x80",
        b"\x00\x80\x80",
        b"\xff" * 11,
        b"\x05\x08",
        b"\xff\xff\xff\xff\x0f",
        b"\x03\x08\x01",
        b'{"id":1,"connect":{}}',
        packed(pb.Command(id=1)),
        packed(pb.Command(connect=pb.ConnectRequest(token="t"))),
        packed(pb.Command(id=1, subscribe=pb.SubscribeRequest(channel="x"))),
        packed(pb.Command(id=1, connect=pb.ConnectRequest())),
        packed(pb.Command(id=1, connect=pb.ConnectRequest(subs={"x": pb.SubscribeRequest(offset=2**60)}))),
        # A channel that is not UTF-8.
        b"\x08\x08\x01\x2a\x04\x0a\x02\xff\xfe",
    ],
)
async def test_what_breaks_the_protocol_ends_the_connection(url: str, frame: bytes) -> None:
    async with raw_protobuf(url) as client:
        await client.socket.send(frame)
        assert await client.closed() == 3501


async def test_fields_that_nobody_knows_are_passed_over(api: Api, url: str) -> None:
    ann = await api.person("Ann")
    async with raw_protobuf(url) as client:
        known = pb.Command(id=1, connect=pb.ConnectRequest(token=ann.token)).SerializeToString()
        strange = known + b"\xf8\x3f\x01" + b"\xfa\x3f\x02hi"
        await client.socket.send(bytes([len(strange) & 0x7F | 0x80, len(strange) >> 7]) + strange)
        [reply] = await client.frame()
        assert reply.connect.client


async def test_every_command_is_answered_as_it_is_in_json(api: Api, url: str, stream: Stream) -> None:
    async with raw_protobuf(url) as client:
        connected = (await client.ask(connect=pb.ConnectRequest(token=stream.ann.token))).connect
        assert (connected.ping, connected.pong, connected.version[:8]) == (25, True, "maycole ")
        assert connected.expires
        assert 0 < connected.ttl <= 600
        assert set(connected.subs) == {
            channels.user(stream.ann.id),
            channels.notifications(stream.ann.id),
            channels.team(stream.ann.personal_team_id),
        }
        asked = pb.SubscribeRequest(channel=stream.channel, recover=True, epoch=stream.epoch, offset=7)
        subscribed = (await client.ask(subscribe=asked)).subscribe
        assert (subscribed.recovered, subscribed.was_recovering, subscribed.offset) == (True, True, 7)
        assert [pub.offset for pub in subscribed.publications] == [8, 9, 10]
        assert json.loads(subscribed.publications[0].data)["n"] == 7
        history = (await client.ask(history=pb.HistoryRequest(channel=stream.channel, limit=2))).history
        assert [pub.offset for pub in history.publications] == [1, 2]
        assert (history.offset, history.epoch) == (10, stream.epoch)
        since = pb.StreamPosition(offset=3, epoch="another")
        other = await client.ask(history=pb.HistoryRequest(channel=stream.channel, limit=2, since=since))
        assert (other.error.code, other.error.message) == (112, "unrecoverable position")
        left = await client.ask(unsubscribe=pb.UnsubscribeRequest(channel=stream.channel))
        assert left.HasField("unsubscribe"), "an empty result is there all the same"
        data = json.dumps({"body": {"name": "Beans", "quantity": 3}}).encode()
        called = await client.ask(rpc=pb.RPCRequest(method="POST /api/inventory", data=data))
        assert json.loads(called.rpc.data)["status"] == 201
        refreshed = (await client.ask(refresh=pb.RefreshRequest(token=stream.ann.token))).refresh
        assert (refreshed.client, refreshed.expires) == (connected.client, True)
        refusals: dict[str, tuple[Any, int]] = {
            "publish": (pb.PublishRequest(channel=stream.channel, data=b"{}"), 103),
            "presence": (pb.PresenceRequest(channel=stream.channel), 108),
            "presence_stats": (pb.PresenceStatsRequest(channel=stream.channel), 108),
            "ping": (pb.PingRequest(), 108),
            "send": (pb.SendRequest(data=b"{}"), 108),
            "sub_refresh": (pb.SubRefreshRequest(channel=stream.channel), 108),
        }
        for name, (request, code) in refusals.items():
            error = (await client.ask(**{name: request})).error
            assert (error.code, bool(error.message)) == (code, True), name
        await client.send(pb.Command(send=pb.SendRequest(data=b"{}")))
        assert await client.closed() == 3508


async def test_a_filter_and_a_kind_of_subscription_that_we_have_not_are_refused(
    url: str, stream: Stream
) -> None:
    async with raw_protobuf(url, token=stream.ann.token) as client:
        filtered = pb.SubscribeRequest(channel=stream.channel, tf=pb.FilterNode())
        assert (await client.ask(subscribe=filtered)).error.code == 107
        mapped = pb.SubscribeRequest(channel=stream.channel, type=1)
        assert (await client.ask(subscribe=mapped)).error.code == 108
        await client.send(
            pb.Command(id=99, subscribe=pb.SubscribeRequest(channel=stream.channel, delta="another"))
        )
        assert await client.closed() == 3501


async def test_followers_of_both_formats_see_the_same(
    api: Api, url: str, stream: Stream, listeners: Listeners
) -> None:
    lines = await listeners(url, stream.ann.token)
    await lines.follow(stream.channel)
    binary = await listeners(url, stream.ann.token, use_protobuf=True)
    await binary.follow(stream.channel)
    beans = await item(stream.ann, name="Böhnchen №1 😀")
    await stream.ann.patch(f"/inventory/{beans['id']}", {"name": 'a "quoted"\nname'})
    await stream.append(20, size=9_000)
    for screen in (lines, binary):
        await screen.until(lambda screen=screen: screen.offsets(stream.channel)[-1:] == [stream.top])
    assert lines.seen[stream.channel] == binary.seen[stream.channel]
    assert len(lines.seen[stream.channel]) == 22


async def test_pushes_that_are_no_publications_come_as_protobuf_too(api: Api, url: str) -> None:
    ann, bob = await api.person("Ann"), await api.person("Bob")
    async with raw_protobuf(url, token=bob.token) as client:
        team = await api.team(ann, member=bob)
        while not any(push.HasField("subscribe") for push in client.pushes):
            await client.frame()
        [joined] = [push for push in client.pushes if push.HasField("subscribe")]
        assert joined.channel == channels.team(team)
        assert joined.subscribe.recoverable
        assert joined.subscribe.epoch
        here = f"presence:{team}"
        await client.ask(subscribe=pb.SubscribeRequest(channel=here))
        while not any(push.HasField("join") for push in client.pushes):
            await client.frame()
        [join] = [push.join for push in client.pushes if push.HasField("join")]
        assert (join.info.user, json.loads(join.info.conn_info)) == (bob.id, {"name": "Bob"})
        present = (await client.ask(presence=pb.PresenceRequest(channel=here))).presence.presence
        assert [info.user for info in present.values()] == [bob.id]
        stats = (await client.ask(presence_stats=pb.PresenceStatsRequest(channel=here))).presence_stats
        assert (stats.num_clients, stats.num_users) == (1, 1)
        await ann.delete(f"/teams/{team}/members/{bob.id}")
        while sum(push.HasField("unsubscribe") for push in client.pushes) < 2:
            await client.frame()
        said = {push.channel: push.unsubscribe for push in client.pushes if push.HasField("unsubscribe")}
        assert {channel: (gone.code, gone.reason) for channel, gone in said.items()} == {
            here: (2000, "server unsubscribe"),
            channels.team(team): (2000, "server unsubscribe"),
        }


async def test_a_ping_is_one_zero_byte_and_so_is_its_answer(
    api: Api, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("channels.pulse.PING_EVERY_S", 0.05)
    assert protobuf_format.PING == b"\x00"
    ann = await api.person("Ann")
    async with raw_protobuf(url, token=ann.token) as client:
        for _ in range(3):
            assert await client.socket.recv() == b"\x00"
            await client.socket.send(b"\x00")
        assert (await client.ask(ping=pb.PingRequest())).error.code == 108
