"""How long a connection lasts: as long as its token, the token after it, and the session of both."""

import time

import jwt
import pytest

from channels import client_pb2 as pb
from channels.live import Live
from domain.auth import tokens
from tests.conftest import SECRET
from tests.factories import Api, Person
from tests.raw import raw
from tests.raw_protobuf import raw_protobuf


def _lasting(person: Person, seconds: float) -> str:
    """A token of the person's session that is good for so long from now."""
    claims = jwt.decode(person.token, options={"verify_signature": False})
    return jwt.encode({**claims, "exp": int(time.time() + seconds)}, SECRET, headers={"typ": "at+jwt"})


async def test_connecting_and_refreshing_tell_how_long_the_token_is_good(api: Api, url: str) -> None:
    ann = await api.person("Ann")
    async with raw(url) as client:
        connected = (await client.ask(connect={"token": _lasting(ann, 100)}))["connect"]
        assert connected["expires"] is True
        assert 95 <= connected["ttl"] <= 100
        refreshed = (await client.ask(refresh={"token": _lasting(ann, 300)}))["refresh"]
        assert refreshed["client"] == connected["client"]
        assert refreshed["version"] == connected["version"]
        assert refreshed["expires"] is True
        assert 295 <= refreshed["ttl"] <= 300


async def test_a_new_token_keeps_the_connection_and_without_one_it_ends(
    api: Api, url: str, live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("channels.standing.EXPIRED_FOR_S", 0.1)
    ann = await api.person("Ann")
    async with raw(url, token=_lasting(ann, 1)) as kept, raw(url, token=_lasting(ann, 1)) as left:
        assert "refresh" in await kept.ask(refresh={"token": _lasting(ann, 300)})
        assert await left.closed() == 3005
        assert "history" in await kept.ask(history={"channel": f"user:{ann.id}"}), "the other one lasts"


async def test_with_a_token_that_has_run_out_nothing_is_done_until_there_is_another(
    api: Api, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("channels.standing.LEEWAY_S", -60)
    ann = await api.person("Ann")
    async with raw(url, token=_lasting(ann, 30)) as client:
        for request in ({"rpc": {"method": "GET /api/users/me"}}, {"history": {"channel": f"user:{ann.id}"}}):
            assert (await client.ask(**request))["error"]["code"] == 109
        assert "refresh" in await client.ask(refresh={"token": _lasting(ann, 300)})
        assert (await client.ask(rpc={"method": "GET /api/users/me"}))["rpc"]["data"]["status"] == 200


@pytest.mark.parametrize(
    ("token", "code"), [("", 3501), ("nonsense", 3500), ("mk_live_1", 3500), ("of another", 3500)]
)
async def test_a_token_that_is_none_or_of_another_user_ends_the_connection(
    api: Api, url: str, token: str, code: int
) -> None:
    ann, eve = await api.person("Ann"), await api.person("Eve")
    async with raw(url, token=ann.token) as client:
        await client.send({"id": 9, "refresh": {"token": eve.token if token == "of another" else token}})
        assert await client.closed() == code


async def test_an_expired_token_asks_for_a_fresh_one_and_changes_nothing(api: Api, url: str) -> None:
    ann = await api.person("Ann")
    async with raw(url, token=ann.token) as client:
        answer = await client.ask(refresh={"token": _lasting(ann, -2 * tokens.LEEWAY_S)})
        assert answer["error"]["code"] == 109
        assert "refresh" in await client.ask(refresh={"token": ann.token})


async def test_a_session_that_is_over_takes_its_connections_however_young_the_token(
    api: Api, url: str
) -> None:
    ann = await api.person("Ann")
    young = _lasting(ann, 600)
    async with raw(url, token=young) as lines, raw_protobuf(url, token=young) as binary:
        assert "refresh" in await lines.ask(refresh={"token": young})
        await ann.post("/auth/logout")
        assert await lines.closed() == 3500
        assert await binary.closed() == 3500
    async with raw(url) as client:
        await client.send({"id": 1, "connect": {"token": young}})
        assert await client.closed() == 3500


async def test_a_token_of_another_session_of_the_same_user_is_taken_and_its_end_is_heard(
    api: Api, url: str
) -> None:
    ann = await api.person("Ann")
    login = {"email": ann.email, "password": ann.password}
    second = (await api.call("POST", "/auth/login", json=login)).json()["data"]["accessToken"]
    async with raw(url, token=ann.token) as client:
        assert "refresh" in await client.ask(refresh={"token": second})
        await ann.post("/auth/logout")
        assert "history" in await client.ask(history={"channel": f"user:{ann.id}"}), "it is of the second now"
        await api.call("POST", "/auth/logout", token=second)
        assert await client.closed() == 3500


async def test_before_connecting_there_is_nothing_to_refresh(api: Api, url: str) -> None:
    ann = await api.person("Ann")
    async with raw_protobuf(url) as client:
        await client.send(pb.Command(id=1, refresh=pb.RefreshRequest(token=ann.token)))
        assert await client.closed() == 3501
