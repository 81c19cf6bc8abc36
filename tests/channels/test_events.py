"""A plain EventSource: entries with their positions as ids, and going on from the last one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
import msgspec
import pytest

from channels.live import Live
from domain import channels
from tests.channels.conftest import Stream
from tests.conftest import ORIGIN
from tests.factories import Api

WITHIN_S = 20


class Events:
    """What came down one stream: (event, id, data), with `message` for what has no name."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines = lines

    async def next(self) -> tuple[str, str, Any]:
        fields: dict[str, str] = {}
        async with asyncio.timeout(WITHIN_S):
            async for line in self._lines:
                name, _, value = line.partition(": ")
                if line:
                    fields[name] = value
                elif "data" in fields:
                    data = msgspec.json.decode(fields["data"])
                    return fields.get("event", "message"), fields.get("id", ""), data
        raise EOFError


@asynccontextmanager
async def _listening(
    http: httpx.AsyncClient, channel: str, token: str, **headers: str
) -> AsyncIterator[Events]:
    query = {"channel": channel, "token": token}
    async with http.stream("GET", "/connection/uni_sse", params=query, headers=headers) as answer:
        assert answer.status_code == 200, answer.status_code
        assert answer.headers["content-type"] == "text/event-stream"
        yield Events(answer.aiter_lines())


async def test_it_begins_with_where_it_stands_and_each_entry_has_its_position(
    http: httpx.AsyncClient, stream: Stream
) -> None:
    async with _listening(http, stream.channel, stream.ann.token) as events:
        event, at, told = await events.next()
        assert (event, at) == ("subscribed", f"{stream.epoch}:10")
        assert told == {"channel": stream.channel, "recovering": False, "recovered": False}
        await stream.append(2)
        assert [await events.next() for _ in range(2)] == [
            ("message", f"{stream.epoch}:11", {"n": 0, "ballast": ""}),
            ("message", f"{stream.epoch}:12", {"n": 1, "ballast": ""}),
        ]


async def test_who_comes_back_with_the_last_id_misses_nothing(
    http: httpx.AsyncClient, stream: Stream
) -> None:
    last = {"Last-Event-ID": f"{stream.epoch}:8"}
    async with _listening(http, stream.channel, stream.ann.token, **last) as events:
        assert await events.next() == (
            "subscribed",
            f"{stream.epoch}:8",
            {"channel": stream.channel, "recovering": True, "recovered": True},
        )
        await stream.append(1)
        ids = [(await events.next())[1] for _ in range(3)]
        assert ids == [f"{stream.epoch}:{offset}" for offset in (9, 10, 11)]


@pytest.mark.parametrize("last", ["{epoch}:99", "another:8", "nonsense", "{epoch}:", ":8", "{epoch}:-1"])
async def test_who_comes_back_from_nowhere_is_told_to_look_again(
    http: httpx.AsyncClient, stream: Stream, last: str
) -> None:
    last = last.format(epoch=stream.epoch)
    async with _listening(http, stream.channel, stream.ann.token, **{"Last-Event-ID": last}) as events:
        event, at, told = await events.next()
        assert (event, at, told["recovered"]) == ("subscribed", f"{stream.epoch}:10", False)


async def test_whoever_may_not_is_refused_before_it_begins(
    http: httpx.AsyncClient, api: Api, stream: Stream
) -> None:
    bob = await api.person("Bob")

    async def status(channel: str, token: str, **headers: str) -> int:
        query = {"channel": channel, "token": token}
        return (await http.get("/connection/uni_sse", params=query, headers=headers)).status_code

    assert await status(stream.channel, "") == 401
    assert await status(stream.channel, "nonsense") == 401
    assert await status(stream.channel, bob.token) == 403
    assert await status("nonsense:1", bob.token) == 404
    assert await status(stream.channel, stream.ann.token, origin="https://evil.example") == 403
    async with _listening(http, stream.channel, stream.ann.token, origin=ORIGIN):
        pass


async def test_a_removal_and_a_logout_end_the_stream(http: httpx.AsyncClient, api: Api) -> None:
    ann, bob = await api.person("Ann"), await api.person("Bob")
    team = await api.team(ann, viewer=bob)
    stock = channels.inventory(team)
    async with _listening(http, stock, bob.token) as bobs, _listening(http, stock, ann.token) as anns:
        assert [(await each.next())[0] for each in (bobs, anns)] == ["subscribed"] * 2
        await ann.delete(f"/teams/{team}/members/{bob.id}")
        assert await bobs.next() == (
            "disconnected",
            "",
            {"code": 3507, "reason": "permission denied", "reconnect": False},
        )
        await ann.post("/auth/logout")
        assert await anns.next() == (
            "disconnected",
            "",
            {"code": 3500, "reason": "invalid token", "reconnect": False},
        )
        for ended in (bobs, anns):
            with pytest.raises(EOFError):
                await ended.next()


async def test_nothing_is_left_of_a_page_that_was_closed(
    http: httpx.AsyncClient, stream: Stream, live: Live
) -> None:
    async with _listening(http, stream.channel, stream.ann.token) as events:
        await events.next()
        [connection] = [
            each
            for each in live.connections
            if each.standing.claims and each.standing.claims.sub == stream.ann.id
        ]
    async with asyncio.timeout(WITHIN_S):
        while connection in live.connections:
            await asyncio.sleep(0.01)
    assert connection.subscriptions == {}


async def test_a_stream_lasts_although_nobody_answers_its_pings(
    http: httpx.AsyncClient, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("channels.pulse.PING_EVERY_S", 0.05)
    monkeypatch.setattr("channels.pulse.PONG_WITHIN_S", 0.05)
    query = {"channel": stream.channel, "token": stream.ann.token}
    async with http.stream("GET", "/connection/uni_sse", params=query) as answer:
        lines = answer.aiter_lines()
        pings = 0
        async with asyncio.timeout(WITHIN_S):
            while pings < 5:
                line = await anext(lines)
                assert line != "event: disconnected"
                pings += line == ":"


async def test_on_a_channel_of_which_nothing_is_kept_who_comes_back_is_told_to_look_again(
    http: httpx.AsyncClient, api: Api
) -> None:
    ann = await api.person("Ann")
    here = f"presence:{ann.personal_team_id}"
    async with _listening(http, here, ann.token) as events:
        event, at, told = await events.next()
        assert (event, told["recovering"]) == ("subscribed", False)
    async with _listening(http, here, ann.token, **{"Last-Event-ID": at}) as events:
        assert (await events.next())[2] == {"channel": here, "recovering": True, "recovered": False}


async def test_ones_own_channel_is_not_for_an_eventsource(http: httpx.AsyncClient, api: Api) -> None:
    ann = await api.person("Ann")
    query = {"channel": channels.user(ann.id), "token": ann.token}
    assert (await http.get("/connection/uni_sse", params=query)).status_code == 403


async def test_one_whose_client_goes_ends_also_with_another_request_behind_it(
    url: str, stream: Stream, live: Live
) -> None:
    where = urlsplit(url)
    query = urlencode({"channel": stream.channel, "token": stream.ann.token})
    before = set(live.connections)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    writer.write(
        f"GET /connection/uni_sse?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        "GET /api/version HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    )
    async with asyncio.timeout(WITHIN_S):
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        await reader.readuntil(b"event: subscribed")
        assert set(live.connections) - before
        writer.transport.abort()
        while set(live.connections) - before:
            await asyncio.sleep(0.05)
