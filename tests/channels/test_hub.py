"""The hub alone: who is written what, in which order, and what is said to be missing."""

import asyncio
from typing import Any

import pytest

from channels import json_format
from channels.encoding import WEBSOCKET_JSON, WEBSOCKET_PROTOBUF, websocket_payload
from channels.hub import AHEAD_MAX, RING_ENTRIES, Feed, Hub
from domain.channels import KINDS as KIND
from domain.streams import Entry

CHANNEL = "inventory:team_1"
EPOCH = "epoch"


class Screen:
    """A follower that notes what it is given."""

    def __init__(self) -> None:
        self.is_broken = False
        self.frames: list[bytes] = []
        self.heard: list[bytes] = []
        self.lost_channels: list[str] = []
        self.write = self.frames.append

    def hear(self, pushed: bytes) -> None:
        self.heard.append(pushed)

    def broke(self) -> None:
        self.is_broken = True

    def lost(self, channel: str) -> None:
        self.lost_channels.append(channel)

    @property
    def offsets(self) -> list[int]:
        return [_offset(line) for frame in self.frames for line in websocket_payload(frame).split(b"\n")]


def _offset(pushed: bytes) -> int:
    return int(pushed.rpartition(b":")[2].rstrip(b"}"))


def _push(offset: int, channel: str = CHANNEL) -> bytes:
    return json_format.published(channel, json_format.publication(_entry(offset, channel)))


def _entry(offset: int, channel: str = CHANNEL) -> Entry:
    return Entry(channel, EPOCH, offset, f"evt_{offset}", "test", '{"n":1}')


@pytest.fixture
def missing() -> list[str]:
    return []


@pytest.fixture
def hub(missing: list[str]) -> Hub:
    return Hub(need=missing.append, overheard="user")


def _follow(hub: Hub, *, last: int = 0, channel: str = CHANNEL) -> tuple[Feed, Screen]:
    feed, screen = hub.open(channel, KIND[channel.partition(":")[0]], EPOCH, last), Screen()
    hub.follow(feed, screen, WEBSOCKET_JSON, lambda frame: screen.write(frame))
    return feed, screen


async def _deliver(hub: Hub, *offsets: int, channel: str = CHANNEL) -> None:
    for offset in offsets:
        hub.deliver(channel, EPOCH, offset, _push(offset, channel))
    await asyncio.sleep(0)


async def test_all_that_arrives_in_one_turn_leaves_as_one_frame(hub: Hub, missing: list[str]) -> None:
    _, screen = _follow(hub)
    await _deliver(hub, 1, 2, 3)
    assert screen.offsets == [1, 2, 3]
    assert len(screen.frames) == 1
    await _deliver(hub, 4)
    assert screen.offsets == [1, 2, 3, 4]
    assert missing == []


async def test_everyone_is_written_the_very_same_bytes(hub: Hub) -> None:
    feed, first = _follow(hub)
    second = Screen()
    hub.follow(feed, second, WEBSOCKET_JSON, second.write)
    await _deliver(hub, 1)
    assert first.frames[0] is second.frames[0]


async def test_what_was_seen_is_dropped_and_what_comes_early_waits_for_what_is_missing(
    hub: Hub, missing: list[str]
) -> None:
    _, screen = _follow(hub, last=4)
    await _deliver(hub, 4, 7, 6, 7)
    assert screen.offsets == []
    assert set(missing) == {CHANNEL}
    await _deliver(hub, 5)
    assert screen.offsets == [5, 6, 7]


async def test_a_gap_is_filled_from_the_log_before_anything_later_is_passed_on(hub: Hub) -> None:
    _, screen = _follow(hub)
    await _deliver(hub, 3, 4)
    assert hub.fill(CHANNEL, [_entry(1), _entry(2), _entry(3)])
    await asyncio.sleep(0)
    assert screen.offsets == [1, 2, 3, 4]


async def test_entries_that_do_not_follow_on_are_refused(hub: Hub) -> None:
    _, screen = _follow(hub)
    assert not hub.fill(CHANNEL, [_entry(2)])
    await asyncio.sleep(0)
    assert screen.offsets == []


async def test_what_arrives_early_is_kept_only_so_far(hub: Hub) -> None:
    feed, _ = _follow(hub)
    await _deliver(hub, *range(2, AHEAD_MAX + 100))
    assert len(feed.ahead) == AHEAD_MAX


async def test_a_higher_top_or_another_epoch_asks_for_the_log(hub: Hub, missing: list[str]) -> None:
    _follow(hub, last=5)
    hub.top(CHANNEL, EPOCH, 5)
    assert missing == []
    hub.top(CHANNEL, EPOCH, 6)
    hub.top(CHANNEL, "another", 1)
    hub.deliver(CHANNEL, "another", 6, _push(6))
    assert missing == [CHANNEL] * 3


async def test_a_broken_stream_is_said_to_be_so_and_begins_again_at_its_head(hub: Hub) -> None:
    feed, screen = _follow(hub, last=5)
    hub.deliver(CHANNEL, EPOCH, 6, _push(6))
    hub.restart(CHANNEL, "another", 2)
    assert screen.offsets == [6], "what had arrived in order is not taken away"
    assert screen.lost_channels == [CHANNEL]
    assert (feed.epoch, feed.last, feed.recent(2), feed.recent(1)) == ("another", 2, [], None)


async def test_a_follower_that_steps_out_while_it_is_written_to_knows_what_it_was_written(hub: Hub) -> None:
    feed, slow = _follow(hub)
    fast = Screen()
    hub.follow(feed, fast, WEBSOCKET_JSON, fast.write)
    left_at: list[int] = []

    def write(frame: bytes) -> None:
        slow.frames.append(frame)
        feed.leave(slow)
        left_at.append(feed.served)

    slow.write = write
    big = "x" * 40_000
    for offset in (1, 2, 3):
        entry = Entry(CHANNEL, EPOCH, offset, "evt", "test", f'{{"n":"{big}"}}')
        hub.deliver(CHANNEL, EPOCH, offset, json_format.published(CHANNEL, json_format.publication(entry)))
    hub.flush(feed)
    assert (len(slow.frames), left_at) == (1, [1])
    assert (fast.offsets, feed.served) == ([1, 2, 3], 3)


async def test_a_follower_that_steps_out_before_the_end_of_the_turn_has_not_got_what_arrived_in_it(
    hub: Hub,
) -> None:
    feed, screen = _follow(hub)
    await _deliver(hub, 1)
    hub.deliver(CHANNEL, EPOCH, 2, _push(2))
    feed.leave(screen)
    assert (feed.served, feed.last) == (1, 2)
    hub.flush(feed)
    assert screen.offsets == [1]
    assert feed.idle


async def test_followers_hear_what_concerns_their_user_before_it_is_written(hub: Hub) -> None:
    _, screen = _follow(hub, channel="user:user_1")
    order: list[Any] = []
    screen.hear = order.append  # type: ignore[method-assign]  # to see both in one list
    screen.write = order.append
    await _deliver(hub, 1, channel="user:user_1")
    assert order[0] == _push(1, "user:user_1")
    assert websocket_payload(order[1]) == order[0]
    _, other = _follow(hub)
    await _deliver(hub, 1)
    assert other.heard == []


async def test_the_ring_keeps_the_newest_and_says_how_far_back_it_goes(hub: Hub) -> None:
    feed, _ = _follow(hub)
    await _deliver(hub, *range(1, RING_ENTRIES + 11))
    assert feed.oldest == 11
    assert feed.recent(10) is not None
    assert [_offset(pushed) for pushed in feed.recent(RING_ENTRIES + 8) or []] == [
        RING_ENTRIES + 9,
        RING_ENTRIES + 10,
    ]
    assert feed.recent(9) is None, "what the ring has let go is not made up"
    assert feed.recent(feed.last) == []
    assert feed.recent(feed.last + 1) is None


async def test_what_cannot_be_written_in_one_encoding_is_written_in_the_others(hub: Hub) -> None:
    feed, reads_json = _follow(hub)
    reads_protobuf, elsewhere = Screen(), Screen()
    hub.follow(feed, reads_protobuf, WEBSOCKET_PROTOBUF, reads_protobuf.write)
    other = hub.open("inventory:team_2", KIND["inventory"], EPOCH, 0)
    hub.follow(other, elsewhere, WEBSOCKET_JSON, elsewhere.write)
    hub.deliver(CHANNEL, EPOCH, 1, b'{"push":{"garbage":1}}')
    hub.deliver("inventory:team_2", EPOCH, 1, _push(1, "inventory:team_2"))
    await asyncio.sleep(0)
    assert reads_protobuf.is_broken
    assert feed.followers() == [reads_json]
    assert elsewhere.offsets == [1], "the feeds after it are served"
    hub.deliver(CHANNEL, EPOCH, 2, _push(2))
    await asyncio.sleep(0)
    assert len(reads_json.frames) == 2


async def test_a_push_that_one_encoding_cannot_say_is_left_out_there(hub: Hub) -> None:
    feed, reads_json = _follow(hub)
    reads_protobuf = Screen()
    hub.follow(feed, reads_protobuf, WEBSOCKET_PROTOBUF, reads_protobuf.write)
    hub.pass_on(CHANNEL, b'{"push":{"channel":"c","pub":{"data":1,"offset":-1}}}')
    hub.pass_on(CHANNEL, b'{"push":{"channel":"c","pub":{"data":1}}}')
    assert (len(reads_json.frames), len(reads_protobuf.frames)) == (2, 1)


async def test_a_follower_that_breaks_is_dropped_and_harms_no_other(
    hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    feed, broken = _follow(hub)
    healthy = Screen()
    hub.follow(feed, healthy, WEBSOCKET_JSON, healthy.write)
    _, elsewhere = _follow(hub, channel="inventory:team_2")

    def write(frame: bytes) -> None:
        raise RuntimeError("the handler is closed")

    broken.write = write
    hub.deliver(CHANNEL, EPOCH, 1, _push(1))
    hub.deliver("inventory:team_2", EPOCH, 1, _push(1, "inventory:team_2"))
    await asyncio.sleep(0)
    await _deliver(hub, 2)

    assert healthy.offsets == [1, 2]
    assert elsewhere.offsets == [1]
    assert broken.is_broken
    assert broken not in feed.followers()
    assert "the handler is closed" in caplog.text
