"""Differences: who asks for them rebuilds each publication, whenever they came, however they read."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from centrifuge import DeltaType
from centrifuge.fossil import apply_delta
from hypothesis import given
from hypothesis import strategies as st

from app.config import Config
from channels import client_pb2 as pb
from channels import json_format
from channels.encoding import (
    SSE,
    STREAM_JSON,
    STREAM_PROTOBUF,
    WEBSOCKET_JSON,
    WEBSOCKET_PROTOBUF,
    Encoding,
    websocket_payload,
)
from channels.protocol import FRAME_BYTES_MAX
from domain import ids
from domain.streams import Entry
from tests.listener import Listeners
from tests.nodes import KindsGate, Node, node, until
from tests.raw import raw
from tests.raw_protobuf import raw_protobuf, replies

CHANNEL = "delta:1"
texts = st.lists(
    st.dictionaries(st.sampled_from(["a", "b", "größe"]), st.text(max_size=200), max_size=3).map(
        lambda value: json.dumps(value, ensure_ascii=False)
    )
    | st.integers(1, 40_000).map(lambda size: json.dumps("x" * size)),
    min_size=1,
    max_size=12,
)


def _pushes(data: list[str]) -> list[bytes]:
    entries = [Entry(CHANNEL, "e", offset, "evt", "t", text) for offset, text in enumerate(data, 1)]
    return [json_format.published(CHANNEL, json_format.publication(entry)) for entry in entries]


def _read(encoding: Encoding, frame: bytes) -> list[tuple[int, bytes, bool]]:
    """(offset, data, delta) of each publication in a frame."""
    if encoding.format is not json_format:
        payload = frame if encoding.frame(b"x") == b"x" else websocket_payload(frame)
        found = [reply.push.pub for reply in replies(payload)]
        return [(pub.offset, pub.data, pub.delta) for pub in found]
    if encoding.frame(b"x").startswith(b"data: "):
        lines = [part.removeprefix(b"data: ") for part in frame.split(b"\n\n")[:-1]]
    else:
        lines = (frame[:-1] if frame.endswith(b"\n") else websocket_payload(frame)).split(b"\n")
    pubs = [json.loads(line)["push"]["pub"] for line in lines]
    return [
        (
            pub["offset"],
            (pub["data"] if encoding.is_delta else json.dumps(pub["data"], ensure_ascii=False)).encode(),
            pub.get("delta", False),
        )
        for pub in pubs
    ]


@pytest.mark.parametrize("encoding", [WEBSOCKET_JSON, WEBSOCKET_PROTOBUF, STREAM_JSON, STREAM_PROTOBUF, SSE])
@given(data=texts)
def test_frames_keep_every_publication_in_order(encoding: Encoding, data: list[str]) -> None:
    pushes = _pushes(data)
    for each in (encoding, encoding.deltas(begun=False)):
        framed = each.frames(CHANNEL, pushes, None)
        read = [_read(each, frame) for frame, _ in framed]
        assert [len(pubs) for pubs in read] == [count for _, count in framed]
        assert [offset for pubs in read for offset, _, _ in pubs] == list(range(1, len(data) + 1))
        for (frame, count), _ in zip(framed, read, strict=True):
            assert count == 1 or len(frame) <= FRAME_BYTES_MAX + 8 * count + 16


@pytest.mark.parametrize("encoding", [WEBSOCKET_JSON, WEBSOCKET_PROTOBUF, STREAM_JSON, STREAM_PROTOBUF, SSE])
@given(data=texts, known=st.integers(0, 12))
def test_the_official_decoder_rebuilds_each_publication(
    encoding: Encoding, data: list[str], known: int
) -> None:
    known = min(known, len(data) - 1)
    pushes = _pushes(data)
    before = pushes[known - 1] if known else None
    newcomer, regular = encoding.deltas(begun=False), encoding.deltas(begun=True)
    assert newcomer.then is regular
    assert regular.then is regular
    for each, base in ((newcomer, None), (regular, data[known - 1].encode() if known else None)):
        for frame, _ in each.frames(CHANNEL, pushes[known:], before):
            for offset, said, is_delta in _read(each, frame):
                assert not (is_delta and base is None), "the first is whole for who has no other"
                base = apply_delta(base, said) if is_delta and base is not None else said
                assert bytes(base).decode() == data[offset - 1]


@pytest.fixture(scope="module")
async def open_node(config: Config, url: str) -> AsyncIterator[Node]:
    async with node(config.redis_url or "", KindsGate()) as started:
        yield started


def _document(n: int) -> str:
    return json.dumps({"n": n, "text": "größe 😀 " * 30, "end": n * 7}, ensure_ascii=False)


@pytest.mark.parametrize("use_protobuf", [False, True], ids=["JSON", "Protobuf"])
async def test_the_official_sdk_sees_the_same_whenever_it_comes(
    open_node: Node, use_protobuf: bool, listeners: Listeners
) -> None:
    channel = f"delta:{ids.new('item')}"
    whole = await listeners(open_node.url, "whole")
    await whole.follow(channel)
    screens = []
    for n in range(4):
        screen = await listeners(open_node.url, f"screen-{n}", use_protobuf=use_protobuf)
        await screen.follow(channel, delta=DeltaType.FOSSIL)
        screens.append(screen)
        await open_node.append(channel, *(_document(10 * n + m) for m in range(3)))
        await whole.until(lambda top=3 * (n + 1): whole.offsets(channel)[-1:] == [top])
    for n, screen in enumerate(screens):
        await screen.until(lambda screen=screen: screen.offsets(channel)[-1:] == [12])
        assert screen.seen[channel] == whole.seen[channel][3 * n :]


@pytest.mark.parametrize("kind", ["delta", "newest"])
async def test_the_first_is_whole_and_those_after_it_are_differences_as_text(
    open_node: Node, kind: str
) -> None:
    channel = f"{kind}:{ids.new('item')}"
    async with raw(open_node.url, token="a") as client:
        answer = (await client.ask(subscribe={"channel": channel, "delta": "fossil"}))["subscribe"]
        assert answer["delta"] is True
        for n in range(3):
            await open_node.append(channel, _document(n))
            while len(client.pushes) <= n:
                await client.frame()
        pubs = [push["pub"] for push in client.pushes]
        assert [pub.get("delta", False) for pub in pubs] == [False, True, True]
        assert all(isinstance(pub["data"], str) for pub in pubs), "in JSON a string, whole or not"
        assert pubs[0]["data"] == _document(0)
        assert len(pubs[1]["data"]) < 60


async def test_what_was_missed_comes_as_differences_too_and_goes_on_with_a_whole_one(open_node: Node) -> None:
    channel = f"delta:{ids.new('item')}"
    await open_node.append(channel, *(_document(n) for n in range(5)))
    asked: dict[str, Any] = {"channel": channel, "recover": True, "offset": 1, "delta": "fossil"}
    async with raw(open_node.url, token="a") as lines, raw_protobuf(open_node.url, token="a") as binary:
        missed = (await lines.ask(subscribe=asked))["subscribe"]["publications"]
        found = (await binary.ask(subscribe=pb.SubscribeRequest(**asked))).subscribe.publications
        assert [pub.get("delta", False) for pub in missed] == [False, True, True, True]
        assert [pub["data"].encode() for pub in missed] == [pub.data for pub in found]
        base = b""
        for n, pub in enumerate(found, 1):
            base = bytes(apply_delta(base, pub.data)) if pub.delta else pub.data
            assert base.decode() == _document(n)
        await open_node.append(channel, _document(5))
        while not lines.pushes:
            await lines.frame()
        assert lines.pushes[0]["pub"] == {"data": _document(5), "offset": 6}


async def test_one_that_was_slow_is_brought_level_with_differences_that_it_can_read(open_node: Node) -> None:
    channel = f"delta:{ids.new('item')}"
    async with raw(open_node.url, token="a") as client:
        await client.ask(subscribe={"channel": channel, "delta": "fossil"})
        [connection] = [each for each in open_node.live.connections if channel in each.subscriptions]
        await open_node.append(channel, _document(0), _document(1))
        while len(client.pushes) < 2:
            await client.frame()
        connection.paused()
        await open_node.append(channel, *(_document(n) for n in range(2, 6)))
        await until(lambda: open_node.live.relay.hub.feeds[channel].last == 6)
        connection.resumed()
        await until(lambda: connection.subscriptions[channel].served is None)
        await open_node.append(channel, _document(6))
        await open_node.append(channel, _document(7))
        while len(client.pushes) < 8:
            await client.frame()
        base = b""
        for n, push in enumerate(client.pushes):
            said = push["pub"]["data"].encode()
            base = bytes(apply_delta(base, said)) if push["pub"].get("delta") else said
            assert (push["pub"]["offset"], base.decode()) == (n + 1, _document(n))


async def test_where_differences_are_not_to_be_had_all_is_whole(open_node: Node) -> None:
    channel = f"plain:{ids.new('item')}"
    async with raw(open_node.url, token="a") as client:
        answer = (await client.ask(subscribe={"channel": channel, "delta": "fossil"}))["subscribe"]
        assert "delta" not in answer
        await open_node.append(channel, _document(0))
        while not client.pushes:
            await client.frame()
        assert client.pushes[0]["pub"]["data"]["n"] == 0
        await client.send({"id": 9, "subscribe": {"channel": f"{channel}x", "delta": "another"}})
        assert await client.closed() == 3501
