"""Coming back: from a position, with all that was missed, or with the plain word that it cannot be told."""

from typing import Any

import pytest

from channels.hub import RING_ENTRIES
from channels.relay import RECOVERED_MAX
from domain import channels, db
from tests.channels.conftest import Stream
from tests.factories import Api
from tests.raw import Raw, raw


async def _come_back(client: Raw, stream: Stream, **position: Any) -> dict[str, Any]:
    answer = await client.ask(subscribe={"channel": stream.channel, "recover": True, **position})
    result: dict[str, Any] = answer.get("subscribe") or answer
    return result


def _offsets(result: dict[str, Any]) -> list[int]:
    return [pub["offset"] for pub in result.get("publications", [])]


@pytest.mark.parametrize("warm", [True, False], ids=["from the ring", "from Postgres"])
@pytest.mark.parametrize("offset", [0, 3, 9, 10])
async def test_what_was_missed_comes_with_the_answer(
    url: str, stream: Stream, warm: bool, offset: int
) -> None:
    async with raw(url, token=stream.ann.token) as client, raw(url, token=stream.ann.token) as other:
        if warm:
            await other.ask(subscribe={"channel": stream.channel})
            await stream.append(5)
            await other.frame()
        result = await _come_back(client, stream, epoch=stream.epoch, offset=offset)
        assert result["recovered"]
        assert result["was_recovering"]
        assert result.get("offset", 0) == offset, "SDKs count up from here while they deliver"
        assert _offsets(result) == list(range(offset + 1, stream.top + 1))


async def test_the_beginning_may_be_asked_for_without_knowing_the_epoch(url: str, stream: Stream) -> None:
    async with raw(url, token=stream.ann.token) as client:
        result = await _come_back(client, stream)
        assert _offsets(result) == list(range(1, 11))


@pytest.mark.parametrize(
    "position", [{"epoch": "another", "offset": 3}, {"offset": 11}, {"epoch": "_", "offset": 0}]
)
async def test_a_position_of_another_stream_is_not_recovered_from(
    url: str, stream: Stream, position: dict[str, Any]
) -> None:
    async with raw(url, token=stream.ann.token) as client:
        result = await _come_back(client, stream, **{"epoch": stream.epoch, **position})
        assert result["was_recovering"]
        assert "recovered" not in result
        assert "publications" not in result
        assert (result["offset"], result["epoch"]) == (stream.top, stream.epoch)


async def test_with_flag_two_it_is_an_error_instead(url: str, stream: Stream) -> None:
    async with raw(url, token=stream.ann.token) as client:
        refused = await _come_back(client, stream, epoch="another", offset=3, flag=3)
        assert refused["error"]["code"] == 112
        assert "error" not in await client.ask(subscribe={"channel": stream.channel}), "it is not subscribed"


async def test_more_than_a_client_can_take_at_once_is_not_recovered(url: str, stream: Stream) -> None:
    await stream.append(RING_ENTRIES)
    async with raw(url, token=stream.ann.token) as client:
        most = await _come_back(client, stream, epoch=stream.epoch, offset=stream.top - RECOVERED_MAX)
        assert len(_offsets(most)) == RECOVERED_MAX
    async with raw(url, token=stream.ann.token) as client:
        more = await _come_back(client, stream, epoch=stream.epoch, offset=stream.top - RECOVERED_MAX - 1)
        assert "recovered" not in more


async def test_entries_past_their_time_are_not_recovered_from_but_what_follows_them_is(
    url: str, stream: Stream
) -> None:
    async with db.maintenance():
        await db.execute('DELETE FROM stream_entries WHERE channel = $1 AND "offset" <= 4', stream.channel)
    async with raw(url, token=stream.ann.token) as client:
        assert "recovered" not in await _come_back(client, stream, epoch=stream.epoch, offset=3)
    async with raw(url, token=stream.ann.token) as client:
        assert _offsets(await _come_back(client, stream, epoch=stream.epoch, offset=4)) == [5, 6, 7, 8, 9, 10]


async def test_live_publications_go_on_right_after_what_was_recovered(url: str, stream: Stream) -> None:
    async with raw(url, token=stream.ann.token) as client:
        await client.send(
            {
                "id": 7,
                "subscribe": {"channel": stream.channel, "recover": True, "epoch": stream.epoch, "offset": 8},
            }
        )
        for _ in range(5):
            await stream.append(2)
        await client.reply(7)
        await stream.append(2)
        while not client.pushes or client.pushes[-1]["pub"]["offset"] != stream.top:
            await client.frame()
        [answer] = [message for message in client.in_order if message.get("id") == 7]
        live = [push["pub"]["offset"] for push in client.pushes]
        assert [*_offsets(answer["subscribe"]), *live] == list(range(9, stream.top + 1))
        assert client.in_order.index(answer) < min(
            index for index, message in enumerate(client.in_order) if "push" in message
        ), "the answer comes before any publication"


async def test_server_side_subscriptions_recover_in_the_answer_to_connect(api: Api, url: str) -> None:
    ann = await api.person("Ann")
    own = channels.user(ann.id)
    async with raw(url) as client:
        before = (await client.ask(connect={"token": ann.token}))["connect"]["subs"][own]
    await ann.patch("/users/me", {"name": "Anna"})
    async with raw(url) as client:
        position = {"recover": True, "offset": before["offset"], "epoch": before["epoch"]}
        sub = (await client.ask(connect={"token": ann.token, "subs": {own: position}}))["connect"]["subs"][
            own
        ]
        assert sub["recovered"]
        assert [pub["data"]["type"] for pub in sub["publications"]] == ["users.changed"]
        assert sub["publications"][0]["offset"] == before["offset"] + 1


@pytest.mark.parametrize(
    ("asked", "offsets"),
    [
        ({"limit": 0}, []),
        ({"limit": -1}, list(range(1, 11))),
        ({"limit": 3}, [1, 2, 3]),
        ({"limit": 3, "since": {"offset": 5}}, [6, 7, 8]),
        ({"limit": 3, "since": {"offset": 10}}, []),
        ({"limit": 3, "reverse": True}, [10, 9, 8]),
        ({"limit": 3, "reverse": True, "since": {"offset": 3}}, [2, 1]),
        ({}, []),
    ],
)
async def test_history_is_read_from_a_position_in_both_directions(
    url: str, stream: Stream, asked: dict[str, Any], offsets: list[int]
) -> None:
    async with raw(url, token=stream.ann.token) as client:
        result = (await client.ask(history={"channel": stream.channel, **asked}))["history"]
        assert [pub["offset"] for pub in result["publications"]] == offsets
        assert (result["epoch"], result["offset"]) == (stream.epoch, 10)


async def test_history_of_another_stream_or_of_others_is_refused(api: Api, url: str, stream: Stream) -> None:
    eve = await api.person("Eve")
    async with raw(url, token=stream.ann.token) as client:
        since = {"epoch": "another", "offset": 1}
        answer = await client.ask(history={"channel": stream.channel, "limit": 1, "since": since})
        assert answer["error"]["code"] == 112
    async with raw(url, token=eve.token) as client:
        answer = await client.ask(history={"channel": stream.channel, "limit": 1})
        assert answer["error"]["code"] == 103
