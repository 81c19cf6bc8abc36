"""Connections that come with an API key: what they hear, and that they end when the key does."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest

from channels.live import Live
from channels.watchman import Watchman
from domain import channels, db
from domain.clock import now
from tests.app.company import problem
from tests.factories import Api, Person, item
from tests.keys import forged, new_key
from tests.listener import Listeners
from tests.raw import raw
from tests.raw_protobuf import raw_protobuf

END = Callable[[Person, Person, str, dict[str, Any]], Awaitable[Any]]


async def _round(live: Live) -> None:
    await Watchman(live.connections, live.gate).make_round()


async def test_a_key_joins_the_teams_it_may_read_and_nothing_that_is_personal(api: Api, url: str) -> None:
    ann = await api.person("Ann")
    team = await api.team(ann)
    everywhere = await new_key(ann, "team:read")
    here = await new_key(ann, "team:read", "inventory:read", teamId=team)
    nothing = await new_key(ann, "inventory:read")
    for key, joined in (
        (everywhere, {channels.team(team), channels.team(ann.personal_team_id)}),
        (here, {channels.team(team)}),
        (nothing, set()),
    ):
        async with raw(url) as client:
            connected = (await client.ask(connect={"token": key["key"]}))["connect"]
            assert set(connected.get("subs", {})) == joined
            assert "expires" not in connected, "a key without an end"
            for personal in (channels.user(ann.id), channels.notifications(ann.id)):
                for command in ("subscribe", "history"):
                    answer = await client.ask(**{command: {"channel": personal}})
                    assert answer["error"]["code"] == 103, answer


async def test_a_key_is_not_told_what_is_said_to_its_user_in_person(
    api: Api, url: str, listeners: Listeners
) -> None:
    ann = await api.person("Ann")
    key = await new_key(ann, "team:read", "inventory:read")
    person, program = await listeners(url, ann.token), await listeners(url, key["key"])
    stock = channels.inventory(ann.personal_team_id)
    await program.follow(stock)
    await ann.patch("/users/me", {"name": "Anna"})
    await person.until(lambda: "users.changed" in person.types(channels.user(ann.id)))
    await item(ann)
    await program.until(lambda: bool(program.seen[stock]))
    assert {channel for channel, entries in program.seen.items() if entries} <= {
        stock,
        channels.team(ann.personal_team_id),
    }


@pytest.mark.parametrize(
    ("scope", "kind"),
    [("inventory:read", "inventory"), ("audit:read", "audit"), ("team:read", "presence")],
)
async def test_a_channel_takes_the_scope_that_reading_takes(
    api: Api, url: str, scope: str, kind: str
) -> None:
    ann = await api.person("Ann")
    team = await api.team(ann)
    having = await new_key(ann, scope, teamId=team)
    others = {"inventory:read", "audit:read", "team:read"} - {scope}
    lacking = await new_key(ann, *others, teamId=team)
    channel = f"{kind}:{team}"
    async with raw(url, token=having["key"]) as client:
        assert "subscribe" in await client.ask(subscribe={"channel": channel})
        foreign = await client.ask(subscribe={"channel": f"{kind}:{ann.personal_team_id}"})
        absent = await client.ask(subscribe={"channel": f"{kind}:team_00000000000000000000000000"})
        assert foreign["error"] == absent["error"]
        assert foreign["error"]["code"] == 103, "its user's other teams are not its own"
    async with raw(url, token=lacking["key"]) as client:
        assert (await client.ask(subscribe={"channel": channel}))["error"]["code"] == 103


async def test_rpc_has_the_keys_rights_and_leaves_its_id_in_the_trail(api: Api, url: str) -> None:
    ann = await api.person("Ann")
    key = await new_key(ann, "inventory:write")

    async def call(client: Any, method: str, body: Any = None) -> Any:
        data = {"body": body} if body else {}
        return (await client.ask(rpc={"method": method, "data": data}))["rpc"]["data"]

    async with raw(url, token=key["key"]) as client:
        made = await call(client, "POST /api/inventory", {"name": "Tea", "quantity": 1})
        assert made["status"] == 201
        assert (await call(client, "GET /api/inventory"))["body"]["code"] == "missing_scope"
        for method in ("GET /api/auth/sessions", "POST /api/auth/logout", "GET /api/auth/api-keys"):
            assert (await call(client, method))["body"]["code"] == "session_required"
        body = {"name": "x", "scopes": ["inventory:write"]}
        assert (await call(client, "POST /api/auth/api-keys", body))["body"]["code"] == "session_required"
    rows = (await ann.get("/audit-logs?action=inventory.created")).json()["data"]
    assert [row["keyId"] for row in rows] == [key["id"]]


@pytest.mark.parametrize("token", ["forged", "revoked", "typo"])
async def test_a_key_that_does_not_open_does_not_connect(api: Api, url: str, token: str) -> None:
    ann = await api.person("Ann")
    key = await new_key(ann)
    async with raw(url, token=key["key"]):
        pass
    if token == "revoked":
        await ann.delete(f"/auth/api-keys/{key['id']}")
    shown = {"forged": forged(key), "revoked": key["key"], "typo": key["key"][:-1]}[token]
    async with raw(url) as client:
        await client.send({"id": 1, "connect": {"token": shown}})
        assert await client.closed() == 3500


async def test_a_key_from_elsewhere_is_refused_on_every_transport(
    api: Api, url: str, http: httpx.AsyncClient
) -> None:
    ann = await api.person("Ann")
    key = await new_key(ann, "inventory:read", addresses=["10.0.0.0/8"])
    async with raw(url) as client:
        assert (await client.ask(connect={"token": key["key"]}))["error"]["code"] == 103
    query = {"channel": channels.inventory(ann.personal_team_id), "token": key["key"]}
    assert (await http.get("/connection/uni_sse", params=query)).status_code == 403


async def _revoked(ann: Person, bob: Person, team: str, key: dict[str, Any]) -> Any:
    return await bob.delete(f"/auth/api-keys/{key['id']}")


async def _revoked_by_admin(ann: Person, bob: Person, team: str, key: dict[str, Any]) -> Any:
    return await ann.delete(f"/auth/api-keys/{key['id']}")


async def _removed(ann: Person, bob: Person, team: str, key: dict[str, Any]) -> Any:
    return await ann.delete(f"/teams/{team}/members/{bob.id}")


async def _rotated(ann: Person, bob: Person, team: str, key: dict[str, Any]) -> Any:
    return await bob.post(f"/auth/api-keys/{key['id']}/rotate", {})


async def _moved(ann: Person, bob: Person, team: str, key: dict[str, Any]) -> Any:
    return await bob.patch(f"/auth/api-keys/{key['id']}", {"addresses": ["10.0.0.0/8"]})


@pytest.mark.parametrize("shut", ["disabled", "closed"])
async def test_an_account_that_is_shut_takes_its_keys_and_their_sockets_for_good(
    api: Api, url: str, listeners: Listeners, shut: str
) -> None:
    ann, sam = await api.person("Ann"), await api.person("Sam")
    key = await new_key(ann, "inventory:read")
    program = await listeners(url, key["key"])
    await db.execute("UPDATE users SET is_staff = true WHERE id = $1", sam.id)
    if shut == "closed":
        assert (await ann.delete("/users/me")).status_code == 204
    else:
        assert (await sam.patch(f"/users/{ann.id}", {"disabled": True})).status_code == 200
    await program.until(lambda: ("disconnected", 3500) in program.said)
    if shut == "disabled":
        await sam.patch(f"/users/{ann.id}", {"disabled": False})
    problem(await api.call("GET", "/users/me", token=key["key"]), 401, "invalid_api_key")


@pytest.mark.parametrize("end", [_revoked, _revoked_by_admin, _removed, _rotated, _moved])
async def test_what_ends_a_key_closes_its_sockets_at_once_and_no_others(
    api: Api, url: str, listeners: Listeners, end: END
) -> None:
    ann, bob = await api.person("Ann"), await api.person("Bob")
    team = await api.team(ann, admin=bob)
    key = await new_key(bob, "inventory:read", teamId=team)
    other = await new_key(bob, "inventory:read")
    program, beside = await listeners(url, key["key"]), await listeners(url, other["key"])
    person = await listeners(url, bob.token)
    await program.follow(channels.inventory(team))

    assert (await end(ann, bob, team, key)).status_code in (200, 204)

    await program.until(lambda: ("disconnected", 3500) in program.said)
    own = channels.user(bob.id)
    await person.until(lambda: bool(person.seen[own]))
    await item(bob)
    await beside.follow(channels.inventory(bob.personal_team_id))
    for staying in (beside, person):
        assert not any(said[0] == "disconnected" for said in staying.said)


async def test_narrowed_scopes_are_felt_on_open_sockets(api: Api, url: str, listeners: Listeners) -> None:
    ann = await api.person("Ann")
    team = await api.team(ann)
    key = await new_key(ann, "inventory:read", "audit:read", "team:read")
    program = await listeners(url, key["key"])
    stock, trail = channels.inventory(team), channels.audit(team)
    await program.follow(stock)
    await program.follow(trail)

    await ann.patch(f"/auth/api-keys/{key['id']}", {"scopes": ["inventory:read"]})
    await program.until(
        lambda: (
            ("unsubscribed", trail, 2000) in program.said and ("left", channels.team(team)) in program.said
        )
    )
    await item(ann, team)
    await program.until(lambda: bool(program.seen[stock]))
    assert not any(said[0] == "disconnected" for said in program.said)

    await ann.patch(f"/auth/api-keys/{key['id']}", {"scopes": ["inventory:read", "team:read"]})
    again = ("joined", channels.team(team), False)
    await program.until(lambda: program.said.count(again) == 2)


async def test_a_demotion_of_its_user_is_felt_on_the_sockets_of_a_key(
    api: Api, url: str, listeners: Listeners
) -> None:
    ann, bob = await api.person("Ann"), await api.person("Bob")
    team = await api.team(ann, admin=bob)
    program = await listeners(url, (await new_key(bob, "audit:read", teamId=team))["key"])
    await program.follow(channels.audit(team))
    await ann.put(f"/teams/{team}/members/{bob.id}", {"role": "viewer"})
    await program.until(lambda: ("unsubscribed", channels.audit(team), 2000) in program.said)


@pytest.mark.parametrize(
    "behind_the_back",
    [
        "UPDATE api_keys SET status = 'revoked' WHERE id = $1",
        "UPDATE api_keys SET expires_at = now() WHERE id = $1",
        "UPDATE api_keys SET addresses = '{10.0.0.0/8}' WHERE id = $1",
        "UPDATE api_keys SET key = 'another', previous_key = key, previous_until = now() WHERE id = $1",
        "UPDATE users SET disabled_at = now() WHERE id = (SELECT user_id FROM api_keys WHERE id = $1)",
    ],
)
async def test_what_is_no_news_is_found_by_the_watchman(
    api: Api, url: str, live: Live, listeners: Listeners, behind_the_back: str
) -> None:
    ann, bob = await api.person("Ann"), await api.person("Bob")
    key = await new_key(ann, "team:read")
    over, good = await listeners(url, key["key"]), await listeners(url, (await new_key(bob))["key"])
    person = await listeners(url, bob.token)
    await _round(live)
    assert not any(said[0] == "disconnected" for one in (over, good, person) for said in one.said)

    await db.execute(behind_the_back, key["id"])
    await _round(live)

    await over.until(lambda: ("disconnected", 3500) in over.said)
    assert not any(said[0] in ("disconnected", "left") for one in (good, person) for said in one.said)


async def test_a_socket_lasts_until_its_key_expires_and_no_longer(api: Api, url: str) -> None:
    ann = await api.person("Ann")
    until = (now() + timedelta(seconds=3)).isoformat()
    ending, other = await new_key(ann, expiresAt=until), await new_key(ann)
    async with raw(url) as client, raw(url, token=other["key"]) as lasting:
        connected = (await client.ask(connect={"token": ending["key"]}))["connect"]
        assert connected["expires"] is True
        assert 1 <= connected["ttl"] <= 3
        assert await client.closed() == 3500
        assert "rpc" in await lasting.ask(rpc={"method": "GET /api/users/me"})


async def test_a_key_that_ends_in_a_thousand_years_can_be_told_to_every_client(api: Api, url: str) -> None:
    ann = await api.person("Ann")
    key = await new_key(ann, expiresAt="9999-12-31T23:59:59Z")
    async with raw_protobuf(url, token=key["key"]), raw(url) as client:
        connected = (await client.ask(connect={"token": key["key"]}))["connect"]
        assert connected["ttl"] == 2**31 - 1


async def test_a_new_text_of_a_rotated_key_is_taken_on_the_open_socket(
    api: Api, url: str, live: Live
) -> None:
    ann = await api.person("Ann")
    key = await new_key(ann, "team:read")
    path = f"/auth/api-keys/{key['id']}/rotate"
    async with raw(url, token=key["key"]) as renewed, raw(url, token=key["key"]) as left:
        following = (await ann.post(path, {"overlapSeconds": 600})).json()["data"]
        assert "refresh" in await renewed.ask(refresh={"token": following["key"]})
        assert "rpc" in await left.ask(rpc={"method": "GET /api/users/me"})
        await db.execute("UPDATE api_keys SET previous_until = now() WHERE id = $1", key["id"])
        await _round(live)
        assert await left.closed() == 3500
        answer = await renewed.ask(rpc={"method": "GET /api/users/me"})
        assert answer["rpc"]["data"]["status"] == 200


@pytest.mark.parametrize("begun_with", ["key", "session"])
async def test_a_connection_of_a_person_does_not_become_one_of_a_program_nor_the_other_way_round(
    api: Api, url: str, begun_with: str
) -> None:
    ann = await api.person("Ann")
    tokens = {"key": (await new_key(ann, "team:read"))["key"], "session": ann.token}
    async with raw(url, token=tokens.pop(begun_with)) as client:
        [other] = tokens.values()
        await client.send({"id": 9, "refresh": {"token": other}})
        assert await client.closed() == 3500


async def test_an_eventsource_comes_with_a_key_and_ends_with_it(api: Api, http: httpx.AsyncClient) -> None:
    ann = await api.person("Ann")
    key = await new_key(ann, "inventory:read")
    channel = channels.inventory(ann.personal_team_id)
    query = {"channel": channel, "token": key["key"]}
    async with http.stream("GET", "/connection/uni_sse", params=query) as response:
        assert response.status_code == 200
        lines = response.aiter_lines()
        while not (await anext(lines)).startswith("event: subscribed"):
            pass
        await ann.delete(f"/auth/api-keys/{key['id']}")
        async with asyncio.timeout(20):
            rest = [line async for line in lines]
        assert any(line.startswith("event: disconnect") for line in rest), rest
    assert (await http.get("/connection/uni_sse", params=query)).status_code == 401
    lacking = await new_key(ann, "team:read")
    query = {"channel": channel, "token": lacking["key"]}
    assert (await http.get("/connection/uni_sse", params=query)).status_code == 403


async def test_sessions_and_keys_are_asked_about_in_one_query(
    api: Api, url: str, live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await api.person("Ann")
    keys = [await new_key(ann) for _ in range(3)]
    known = {
        await live.gate.claims(text, {"client": None, "headers": []})
        for text in [ann.token, *(k["key"] for k in keys)]
    }
    asked: list[str] = []
    fetch = db.fetch

    async def counted(sql: str, *args: Any) -> Any:
        asked.append(sql)
        return await fetch(sql, *args)

    monkeypatch.setattr(db, "fetch", counted)
    rights = await live.gate.rights_of(known)
    assert (set(rights), len(asked)) == (known, 2), "credentials, and roles"
    assert {one.exp > time.time() for one in known} == {True, False}
