"""What a client may ask on a websocket, and what it is answered: real server, real socket, spoken by hand."""

import secrets

import jwt
import pytest
import websockets

from domain import channels
from tests.conftest import ORIGIN, SECRET
from tests.factories import Api
from tests.raw import raw

ABSENT = channels.inventory("team_00000000000000000000000000")


def _code(answer: dict[str, object]) -> object:
    error = answer["error"]
    assert isinstance(error, dict)
    assert error["message"], "SDKs index the message"
    return error["code"]


async def test_connecting_joins_what_the_server_joins_and_announces_pings(api: Api, url: str) -> None:
    ann = await api.person("Ann")
    team = await api.team(ann)
    async with raw(url) as client:
        answer = (await client.ask(connect={"token": ann.token, "name": "raw"}))["connect"]
        assert set(answer["subs"]) == {
            channels.user(ann.id),
            channels.notifications(ann.id),
            channels.team(ann.personal_team_id),
            channels.team(team),
        }
        assert all(
            sub["recoverable"] and sub["positioned"] and sub["epoch"] for sub in answer["subs"].values()
        )
        assert (answer["ping"], answer["pong"]) == (25, True)
        assert answer["client"]
        assert answer["version"]


def _forged(**claims: object) -> str:
    return jwt.encode(
        {"sub": "user_x", "sid": "sess_x", "iss": "maycole", "aud": "maycole", **claims}, SECRET
    )


@pytest.mark.parametrize(
    "token", ["nonsense", "a.b.c", _forged(), _forged(exp=9999999999, iat=1), "mk_live_1"]
)
async def test_a_token_that_is_none_ends_the_connection(url: str, token: str) -> None:
    async with raw(url) as client:
        await client.send({"id": 1, "connect": {"token": token}})
        assert await client.closed() == 3500


async def test_an_expired_token_asks_for_a_fresh_one(api: Api, url: str) -> None:
    ann = await api.person("Ann")
    claims = jwt.decode(ann.token, options={"verify_signature": False})
    expired = jwt.encode({**claims, "exp": 1000000000}, SECRET, headers={"typ": "at+jwt"})
    async with raw(url) as client:
        assert _code(await client.ask(connect={"token": expired})) == 109
        await client.send({"id": 2, "subscribe": {"channel": ABSENT}})
        assert await client.closed() == 3501, "nothing but connect may follow"


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "\n",
        "nonsense",
        "[]",
        "{}",
        "\x00",
        b"\xff\xfe",
        '{"id":1}',
        '{"id":1,"connect":{}}',
        '{"id":0,"connect":{"token":"t"}}',
        '{"connect":{"token":"t"}}',
        '{"id":1,"subscribe":{"channel":"inventory:x"}}',
        '{"send":{}}',
        '{"id":1,"connect":{"token":1}}',
    ],
)
async def test_what_breaks_the_protocol_before_connecting_ends_the_connection(
    url: str, frame: str | bytes
) -> None:
    async with raw(url) as client:
        await client.socket.send(frame)
        assert await client.closed() == 3501


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ('{"id":2,"connect":{"token":"again"}}', 3501),
        ("{}", 3501),
        ('{"subscribe":{"channel":"x"}}', 3501),
        ('{"send":{"data":{}}}', 3508),
        ('{"id":2}', 3501),
        ("x" * 65_537, 1009),
    ],
)
async def test_what_breaks_the_protocol_after_connecting_ends_the_connection(
    api: Api, url: str, frame: str, code: int
) -> None:
    ann = await api.person("Ann")
    async with raw(url, token=ann.token) as client:
        await client.send(frame)
        assert await client.closed() == code


@pytest.mark.parametrize("request_", ["presence", "presence_stats", "ping", "sub_refresh", "send"])
async def test_what_is_not_offered_is_answered_with_not_available(api: Api, url: str, request_: str) -> None:
    ann = await api.person("Ann")
    async with raw(url, token=ann.token) as client:
        answer = await client.ask(
            **{request_: {"channel": channels.inventory(ann.personal_team_id), "data": {}}}
        )
        assert _code(answer) == 108
        assert "history" in await client.ask(history={"channel": channels.user(ann.id)}), "it lives on"


async def test_subscribing_answers_where_the_stream_stands_or_why_not(api: Api, url: str) -> None:
    ann, eve = await api.person("Ann"), await api.person("Eve")
    own = channels.inventory(ann.personal_team_id)
    async with raw(url, token=ann.token) as client:
        answer = (await client.ask(subscribe={"channel": own, "flag": 1}))["subscribe"]
        assert answer["recoverable"]
        assert answer["positioned"]
        assert answer["epoch"]
        refusals = {
            own: 105,
            channels.user(ann.id): 105,
            channels.user(eve.id): 103,
            channels.notifications(eve.id): 103,
            channels.inventory(eve.personal_team_id): 103,
            ABSENT: 103,
            "inventory:x": 102,
            "inventory": 102,
            "nonsense:" + eve.id: 102,
            "$inventory:" + ann.personal_team_id: 102,
            own + "\x00": 102,
            "": 102,
            "x" * 256: 107,
        }
        for channel, code in refusals.items():
            assert _code(await client.ask(subscribe={"channel": channel})) == code, channel
        map_type = channels.audit(ann.personal_team_id)
        assert _code(await client.ask(subscribe={"channel": map_type, "type": 1})) == 108


async def test_unsubscribing_always_succeeds_and_one_may_come_back(api: Api, url: str) -> None:
    ann = await api.person("Ann")
    own = channels.inventory(ann.personal_team_id)
    async with raw(url, token=ann.token) as client:
        for _ in range(2):
            assert "subscribe" in await client.ask(subscribe={"channel": own})
            assert (await client.ask(unsubscribe={"channel": own}))["unsubscribe"] == {}
            assert (await client.ask(unsubscribe={"channel": own}))["unsubscribe"] == {}


async def test_a_client_may_ask_for_128_channels_besides_those_that_the_server_joins(
    api: Api, url: str
) -> None:
    ann = await api.person("Ann")
    teams = [await api.team(ann) for _ in range(65)]
    async with raw(url, token=ann.token) as client:
        wanted = [kind(team) for team in teams for kind in (channels.inventory, channels.audit)]
        answers = [await client.ask(subscribe={"channel": channel}) for channel in wanted]
        assert [index for index, answer in enumerate(answers) if "error" in answer] == [128, 129]
        assert _code(answers[128]) == 106


async def test_what_the_server_joined_a_client_may_neither_leave_nor_ask_for(api: Api, url: str) -> None:
    ann = await api.person("Ann")
    async with raw(url, token=ann.token) as client:
        for channel in (
            channels.user(ann.id),
            channels.notifications(ann.id),
            channels.team(ann.personal_team_id),
        ):
            assert _code(await client.ask(unsubscribe={"channel": channel})) == 103
            assert _code(await client.ask(subscribe={"channel": channel})) == 105


async def test_commands_in_one_frame_are_carried_out_in_order(api: Api, url: str) -> None:
    ann = await api.person("Ann")
    own = channels.inventory(ann.personal_team_id)
    async with raw(url) as client:
        await client.send(
            {"id": 1, "connect": {"token": ann.token}},
            {"id": 2, "subscribe": {"channel": own}},
            {"id": 3, "unsubscribe": {"channel": own}},
            {"id": 4, "subscribe": {"channel": own}},
        )
        await client.reply(4)
        replies = [message for message in client.in_order if "id" in message]
        assert [reply["id"] for reply in replies] == [1, 2, 3, 4]
        assert not any("error" in reply for reply in replies)


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [(ORIGIN, True), (None, True)]
    + [
        (origin, False)
        for origin in (
            "https://evil.example",
            "null",
            ORIGIN + ".evil.example",
            ORIGIN + ":8443",
            "http://app.example",
            "",
        )
    ],
)
async def test_pages_of_other_origins_are_turned_away_in_the_handshake(
    url: str, origin: str | None, allowed: bool
) -> None:
    if allowed:
        async with raw(url, origin=origin) as client:
            await client.send(secrets.token_hex(4))
            assert await client.closed() == 3501
    else:
        where = f"{url.replace('http', 'ws', 1)}/connection/websocket"
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.connect(where, additional_headers={"Origin": origin or ""})
        assert refused.value.response.status_code == 403


async def test_whoever_does_not_say_who_they_are_within_ten_seconds_is_closed(url: str) -> None:
    async with raw(url) as client:
        assert await client.closed() == 3502
