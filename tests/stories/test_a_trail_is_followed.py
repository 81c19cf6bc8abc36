"""The audit trail, live: what of it one wants to hear, coming back to it, and all teams' trails for staff."""

import asyncio
import secrets
from typing import Any

import pytest
from centrifuge import Filter

from app.config import Config
from channels import pace, relay
from channels.live import Live
from channels.watchman import Watchman
from domain import channels, db, memory, streams
from tests.factories import Api, Person, item
from tests.listener import Listener, Listeners
from tests.nodes import until
from tests.processes import running
from tests.raw import raw
from tests.statements import Statements

ADJUSTED = Filter.eq("action", "inventory.adjusted")


def actions(screen: Listener, channel: str) -> list[str]:
    return [entry["data"]["action"] for _, entry in screen.seen[channel]]


async def busy(ann: Person, team: str, times: int = 2) -> None:
    """So many adjustments, with other things before and after each."""
    for _ in range(times):
        beans = await item(ann, team)
        await ann.post(f"/inventory/{beans['id']}/adjust", {"delta": 1, "reason": "found"})
        await ann.delete(f"/inventory/{beans['id']}")


@pytest.mark.parametrize("use_protobuf", [False, True], ids=["json", "protobuf"])
async def test_a_follower_hears_the_actions_it_asked_for_with_their_own_offsets(
    api: Api, url: str, listeners: Listeners, use_protobuf: bool
) -> None:
    ann = await api.person()
    team = await api.team(ann)
    channel = channels.audit(team)
    some = await listeners(url, ann.token, use_protobuf=use_protobuf)
    every = await listeners(url, ann.token)
    wanted = Filter.any(ADJUSTED, Filter.starts_with("action", "teams."))
    await some.follow(channel, tags_filter=wanted)
    await every.follow(channel)
    await busy(ann, team)
    bob = await api.person("Bob")
    await ann.post(f"/teams/{team}/members", {"userId": bob.id, "role": "viewer"})
    await every.until(lambda: "teams.member_added" in actions(every, channel))
    await some.until(lambda: "teams.member_added" in actions(some, channel))
    heard = ("inventory.adjusted", "teams.member_added")
    assert some.seen[channel] == [one for one in every.seen[channel] if one[1]["data"]["action"] in heard]
    assert len(some.seen[channel]) == 3


async def test_who_comes_back_gets_what_was_missed_however_much_was_filtered_out(api: Api, url: str) -> None:
    ann = await api.person()
    team = await api.team(ann)
    channel = channels.audit(team)
    where = (await ann.get(f"/audit-logs?teamId={team}")).json()["position"]
    since = {"recover": True, "epoch": where["epoch"], "offset": where["offset"]}
    await busy(ann, team, times=110)
    top = (await ann.get(f"/audit-logs?teamId={team}&limit=1")).json()["position"]["offset"]
    assert top - where["offset"] > 300, "more than is recovered without a filter"
    tf: Any = {"key": "action", "cmp": "eq", "val": "inventory.adjusted"}
    async with raw(url, token=ann.token) as client:
        whole = await client.ask(subscribe={"channel": channel, **since})
        assert "recovered" not in whole["subscribe"]
        await client.ask(unsubscribe={"channel": channel})
        answer = (await client.ask(subscribe={"channel": channel, "tf": tf, **since}))["subscribe"]
        assert (answer["recovered"], answer["offset"]) == (True, where["offset"])
        await busy(ann, team, times=1)
        while len(pushed := _offsets(client.pushes, channel)) < 111:
            await client.frame()
        assert pushed == sorted(set(pushed)), "each once, in order"
        kept = await db.fetch(
            "SELECT seq FROM audit_logs WHERE team_id = $1 AND action = 'inventory.adjusted' ORDER BY seq",
            team,
        )
        assert pushed == [row["seq"] for row in kept]
        await client.ask(unsubscribe={"channel": channel})
        level = {**since, "offset": pushed[-1]}
        answer = (await client.ask(subscribe={"channel": channel, "tf": tf, **level}))["subscribe"]
        assert answer["recovered"]
        await busy(ann, team, times=1)
        while len(_offsets(client.pushes, channel)) < 112:
            await client.frame()
    assert len(set(_offsets(client.pushes, channel))) == 112, "what was heard is not heard again"


async def test_coming_back_from_too_far_is_said_to_be_so_and_not_all_are_read_for_at_once(
    api: Api, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await api.person()
    team = await api.team(ann)
    channel = channels.audit(team)
    where = (await ann.get(f"/audit-logs?teamId={team}")).json()["position"]
    since = {"recover": True, "epoch": where["epoch"], "offset": where["offset"]}
    await busy(ann, team, times=20)
    read, reading, most = streams.read, 0, 0

    async def watched(channel: str, after: int, *, limit: int, until: int) -> Any:
        nonlocal reading, most
        reading += limit > 1
        most = max(most, reading)
        await asyncio.sleep(0.01 * (limit > 1))
        found = await read(channel, after, limit=limit, until=until)
        reading -= limit > 1
        return found

    monkeypatch.setattr(streams, "read", watched)
    monkeypatch.setattr(pace, "CATCH_UP_ENTRIES", 10)
    monkeypatch.setattr(relay, "RECOVERED_MAX", 20)  # what is no more comes from the ring
    tf: Any = {"key": "action", "cmp": "eq", "val": "inventory.adjusted"}
    asked = {"channel": channel, "tf": tf, **since}

    async def comes_back() -> None:
        async with raw(url, token=ann.token) as client:
            answer = await client.ask(subscribe=asked)
            assert answer["subscribe"]["recovered"]
            while len(_offsets(client.pushes, channel)) < 20:
                await client.frame()

    await asyncio.gather(*(comes_back() for _ in range(3 * relay.SIFTED_AT_ONCE)))
    assert most == relay.SIFTED_AT_ONCE

    monkeypatch.setattr(relay, "SIFTED_MAX", 20)
    async with raw(url, token=ann.token) as client:
        answer = (await client.ask(subscribe=asked))["subscribe"]
        assert answer["was_recovering"]
        assert "recovered" not in answer


def _offsets(pushes: list[dict[str, Any]], channel: str) -> list[int]:
    return [push["pub"]["offset"] for push in pushes if push["channel"] == channel and "pub" in push]


@pytest.mark.parametrize(
    "tf",
    [
        {"key": "ip", "cmp": "eq", "val": "x"},
        {"key": "action", "cmp": "like", "val": "x"},
        {"key": "action", "cmp": "in"},
        {"op": "xor", "nodes": [{"key": "action", "cmp": "ex"}]},
        {"op": "not"},
        {"op": "and", "nodes": []},
        {"key": "action", "cmp": "eq", "val": 1},
        {"key": "action", "cmp": "eq", "val": "x", "more": "y"},
        {"key": "action", "cmp": "in", "vals": ["x"] * 300},
        {},
    ],
)
async def test_what_is_no_filter_is_refused_and_so_is_one_where_there_is_nothing_to_filter(
    api: Api, url: str, tf: Any
) -> None:
    ann = await api.person()
    good = {"key": "action", "cmp": "ex"}
    async with raw(url, token=ann.token) as client:
        for channel, asked in (
            (channels.audit(ann.personal_team_id), tf),
            (channels.inventory(ann.personal_team_id), good),
        ):
            answer = await client.ask(subscribe={"channel": channel, "tf": asked})
            assert answer["error"]["code"] == 107
        channel = channels.audit(ann.personal_team_id)
        assert "subscribe" in await client.ask(subscribe={"channel": channel, "tf": good})


# All trails at once


async def staff(api: Api) -> Person:
    person = await api.person("Sam")
    await db.execute("UPDATE users SET is_staff = true WHERE id = $1", person.id)
    return person


async def test_staff_hears_the_trails_of_all_teams_on_every_process_and_may_filter_them(
    api: Api, url: str, config: Config, listeners: Listeners
) -> None:
    sam, ann, bob = await staff(api), await api.person("Ann"), await api.person("Bob")
    team = await api.team(bob)
    async with running(config) as other:
        screens = [await listeners(url, sam.token), await listeners(other.url, sam.token)]
        only = await listeners(other.url, sam.token)
        for screen in screens:
            await screen.follow(channels.EVERY_AUDIT)
        await only.follow(channels.EVERY_AUDIT, tags_filter=ADJUSTED)
        beans = await item(ann)
        await item(bob, team)
        await ann.post(f"/inventory/{beans['id']}/adjust", {"delta": 1, "reason": "found"})
        for screen in (*screens, only):
            await screen.until(
                lambda screen=screen: "inventory.adjusted" in actions(screen, channels.EVERY_AUDIT)
            )
    mine = {ann.personal_team_id, team}
    for screen in screens:
        heard = [
            (entry["data"]["teamId"], entry["data"]["action"])
            for _, entry in screen.seen[channels.EVERY_AUDIT]
            if entry["data"]["teamId"] in mine
        ]
        assert heard == [
            (ann.personal_team_id, "inventory.created"),
            (team, "inventory.created"),
            (ann.personal_team_id, "inventory.adjusted"),
        ]
    assert set(actions(only, channels.EVERY_AUDIT)) == {"inventory.adjusted"}


async def test_nobody_else_hears_them_and_no_key_of_staff_either(api: Api, url: str) -> None:
    sam, ann = await staff(api), await api.person("Ann")
    scopes = ["team:read", "audit:read"]
    key = (await sam.post("/auth/api-keys", {"name": "Till", "scopes": scopes})).json()["data"]["key"]
    for token in (ann.token, key):
        async with raw(url, token=token) as client:
            answer = await client.ask(subscribe={"channel": channels.EVERY_AUDIT})
            assert answer["error"]["code"] == 103
    async with raw(url, token=sam.token) as client:
        assert (await client.ask(subscribe={"channel": channels.EVERY_AUDIT}))["subscribe"] == {}
        assert (await client.ask(history={"channel": channels.EVERY_AUDIT, "limit": 1}))["error"][
            "code"
        ] == 108


async def test_who_is_staff_no_more_hears_no_more(
    api: Api, url: str, live: Live, listeners: Listeners
) -> None:
    sam, boss = await staff(api), await staff(api)
    screen, bosss = await listeners(url, sam.token), await listeners(url, boss.token)
    for one in (screen, bosss):
        await one.follow(channels.EVERY_AUDIT)
    await db.execute("UPDATE users SET is_staff = false WHERE id = $1", sam.id)
    await Watchman(live.connections, live.gate).make_round()
    await screen.until(lambda: ("unsubscribed", channels.EVERY_AUDIT, 2000) in screen.said)
    heard = len(screen.seen[channels.EVERY_AUDIT])
    await item(await api.person("Ann"))
    await bosss.until(lambda: "inventory.created" in actions(bosss, channels.EVERY_AUDIT))
    assert len(screen.seen[channels.EVERY_AUDIT]) == heard
    other = await staff(api)
    assert (await other.patch(f"/users/{boss.id}", {"disabled": True})).status_code == 200
    await bosss.until(lambda: ("disconnected", 3500) in bosss.said)


async def test_a_commit_costs_no_statement_more_while_staff_listens(
    api: Api, url: str, live: Live, listeners: Listeners
) -> None:
    ann, sam = await api.person("Ann"), await staff(api)
    counted = []
    for _ in range(2):
        memory.forget(ann.id)  # who is remembered is not asked about
        async with Statements() as statements:
            await item(ann, name=secrets.token_hex(4))
        counted.append(statements.of_requests)
        screen = await listeners(url, sam.token)
        await screen.follow(channels.EVERY_AUDIT)
    assert counted[0] == counted[1]
    assert len(counted[0]) > 2
    await until(lambda: live.relay.hub.feeds[channels.EVERY_AUDIT].last == 0)
