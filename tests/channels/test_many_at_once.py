"""What a client says in one breath: many commands, few questions to the database; and the bounds."""

import asyncio
from typing import Any

import pytest
import websockets

from channels.live import Live
from domain import channels, db
from tests.factories import Api, Person
from tests.raw import raw

Queries = list[str]


@pytest.fixture
def queries(monkeypatch: pytest.MonkeyPatch) -> Queries:
    """The statements that are sent through db.fetch."""
    asked: Queries = []
    fetch = db.fetch

    async def counted(sql: str, *arguments: Any) -> Any:
        if "pgqueuer" not in sql:  # the worker of the app looks for jobs meanwhile
            asked.append(" ".join(sql.split())[:60])
        return await fetch(sql, *arguments)

    monkeypatch.setattr(db, "fetch", counted)
    return asked


async def _teams(api: Api, count: int) -> tuple[Person, list[str]]:
    ann = await api.person("Ann")
    return ann, [await api.team(ann) for _ in range(count)]


async def test_connect_and_a_hundred_subscribes_in_one_frame_cost_a_handful_of_queries(
    api: Api, url: str, queries: Queries
) -> None:
    ann, teams = await _teams(api, 50)
    wanted = [kind(team) for team in teams for kind in (channels.inventory, channels.audit)]
    subscribes = [{"id": n, "subscribe": {"channel": name}} for n, name in enumerate(wanted, 2)]
    async with raw(url) as client:
        queries.clear()
        await client.send({"id": 1, "connect": {"token": ann.token}}, *subscribes)
        await client.reply(101)
        replies = [message for message in client.in_order if "id" in message]
        assert [reply["id"] for reply in replies] == list(range(1, 102)), "each is answered, in order"
        assert not any("error" in reply for reply in replies)
        assert 0 < len(queries) <= 12, queries


async def test_a_frame_that_comes_and_goes_many_times_over_opens_each_channel_once(
    api: Api, url: str, live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, [team] = await _teams(api, 1)
    stock = channels.inventory(team)
    pinned = 0
    following = live.relay.following

    def counted(*names: str) -> Any:
        nonlocal pinned
        pinned += len(names)
        return following(*names)

    monkeypatch.setattr(live.relay, "following", counted)
    commands: list[dict[str, Any]] = []
    for n in range(2, 400, 2):
        commands += (
            {"id": n, "subscribe": {"channel": stock}},
            {"id": n + 1, "unsubscribe": {"channel": stock}},
        )
    async with raw(url, token=ann.token) as client:
        pinned = 0
        await client.send(*commands)
        await client.reply(399)
        assert not any("error" in message for message in client.in_order)
        assert 199 <= pinned <= 210, "what is to come is opened along with the first, not with each"


async def test_rights_that_are_taken_between_two_subscribes_of_one_frame_are_felt(
    api: Api, url: str, live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob = await api.person("Ann"), await api.person("Bob")
    team = await api.team(ann, admin=bob)
    stock, trail = channels.inventory(team), channels.audit(team)
    taken = asyncio.Event()
    prepare = live.relay.prepare

    async def while_it_is_prepared(*what: Any) -> None:
        await prepare(*what)
        if not taken.is_set():
            taken.set()
            await ann.delete(f"/teams/{team}/members/{bob.id}")

    monkeypatch.setattr(live.relay, "prepare", while_it_is_prepared)
    async with raw(url, token=bob.token) as client:
        await client.send(
            {"id": 2, "subscribe": {"channel": stock, "recover": True}},
            {"id": 3, "subscribe": {"channel": trail, "recover": True}},
        )
        await client.reply(3)
        assert taken.is_set()
        followed = {"subscribe" in message for message in client.in_order if message.get("id") == 3}
        gone = {stock, trail} if True in followed else {stock}
        while not gone <= {push["channel"] for push in client.pushes if "unsubscribe" in push}:
            await client.frame()
        claims = {each: each.standing.claims for each in live.connections}
        [connection] = [each for each, said in claims.items() if said and said.sub == bob.id]
        assert not {stock, trail} & set(connection.subscriptions)
        for channel in (stock, trail):
            assert (await client.ask(subscribe={"channel": channel}))["error"]["code"] == 103


async def test_what_a_subscribe_asks_for_that_we_have_not_is_refused(api: Api, url: str) -> None:
    ann, [team] = await _teams(api, 1)
    stock = channels.inventory(team)
    async with raw(url, token=ann.token) as client:
        for more, code in (({"tf": {}}, 107), ({"tf": {"op": "and", "nodes": []}}, 107), ({"type": 4}, 108)):
            answer = await client.ask(subscribe={"channel": stock, **more})
            assert answer["error"]["code"] == code, more
        assert "delta" not in (await client.ask(subscribe={"channel": stock, "delta": "fossil"}))["subscribe"]
        await client.send({"id": 99, "subscribe": {"channel": channels.audit(team), "delta": "other"}})
        assert await client.closed() == 3501


async def test_with_pings_of_the_websocket_itself_none_of_ours_are_announced_or_sent(
    api: Api, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("channels.pulse.PING_EVERY_S", 0.05)
    monkeypatch.setattr("channels.pulse.PONG_WITHIN_S", 0.5)
    ann = await api.person("Ann")
    ping = websockets.Opcode.PING
    async with raw(url, query="?cf_ws_frame_ping_pong=true") as client:
        answer = (await client.ask(connect={"token": ann.token}))["connect"]
        assert not {"ping", "pong"} & set(answer)
        pings = 0
        protocol = client.socket.protocol
        recv_frame = protocol.recv_frame

        def noted(frame: websockets.Frame) -> None:
            nonlocal pings
            pings += frame.opcode is ping
            if pings <= 3 or frame.opcode is not ping:
                recv_frame(frame)

        monkeypatch.setattr(protocol, "recv_frame", noted)
        assert await client.closed() == 3012, "the fourth was not answered"
        assert pings == 4
        assert {} not in client.in_order
