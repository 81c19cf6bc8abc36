"""Who may hear what: asked at every join, and felt on screens that are already open."""

import pytest

from domain import channels
from tests.app.company import problem
from tests.factories import Api, item
from tests.listener import Listeners


@pytest.mark.parametrize("kind", ["inventory", "audit"])
async def test_a_stranger_may_not_follow_a_team_and_hears_nothing(
    api: Api, url: str, listeners: Listeners, kind: str
) -> None:
    ann, eve = await api.person("Ann"), await api.person("Eve")
    team = await api.team(ann)
    channel = f"{kind}:{team}"
    inside, outside = await listeners(url, ann.token), await listeners(url, eve.token)
    await inside.follow(channel)
    await outside.watch(channel)
    await outside.until(lambda: ("unsubscribed", channel, 103) in outside.said)

    await item(ann, team)
    await inside.until(lambda: bool(inside.seen[channel]))

    own = channels.inventory(eve.personal_team_id)
    await outside.follow(own)
    await item(eve)
    await outside.until(lambda: bool(outside.seen[own]))
    assert channel not in outside.seen, "what is foreign is not heard, while what is one's own is"


async def test_a_foreign_channel_is_refused_in_the_words_of_an_absent_one(
    api: Api, url: str, listeners: Listeners
) -> None:
    ann, eve = await api.person("Ann"), await api.person("Eve")
    foreign = channels.inventory(await api.team(ann))
    absent = channels.inventory("team_00000000000000000000000000")
    outside = await listeners(url, eve.token)

    for channel in (foreign, absent):
        await outside.watch(channel)
        await outside.until(lambda channel=channel: ("unsubscribed", channel, 103) in outside.said)


async def test_a_viewer_may_follow_the_stock_but_not_the_audit_trail(
    api: Api, url: str, listeners: Listeners
) -> None:
    ann, bob = await api.person("Ann"), await api.person("Bob")
    team = await api.team(ann, viewer=bob)
    owners, viewers = await listeners(url, ann.token), await listeners(url, bob.token)

    await owners.follow(channels.audit(team))
    await viewers.follow(channels.inventory(team))
    await viewers.watch(channels.audit(team))

    await viewers.until(lambda: ("unsubscribed", channels.audit(team), 103) in viewers.said)


async def test_someone_added_to_a_team_hears_it_without_connecting_again(
    api: Api, url: str, listeners: Listeners
) -> None:
    ann, bob = await api.person("Ann"), await api.person("Bob")
    screen = await listeners(url, bob.token)
    team = await api.team(ann, member=bob)
    channel = channels.team(team)

    await screen.until(lambda: ("joined", channel, False) in screen.said)
    cid = await api.person("Cid")
    await ann.post(f"/teams/{team}/members", {"userId": cid.id, "role": "viewer"})

    await screen.until(lambda: bool(screen.seen[channel]))
    [(_, entry)] = screen.seen[channel]
    assert (entry["type"], entry["data"]["member"]["userId"]) == ("teams.member_added", cid.id)


async def test_a_removed_member_hears_nothing_more(api: Api, url: str, listeners: Listeners) -> None:
    ann, bob = await api.person("Ann"), await api.person("Bob")
    team = await api.team(ann, member=bob)
    stock, members = channels.inventory(team), channels.team(team)
    removed, staying = await listeners(url, bob.token), await listeners(url, ann.token)
    await removed.follow(stock)
    await staying.follow(stock)
    beans = await item(ann, team)
    await removed.until(lambda: removed.offsets(stock) == [1])

    answer = await ann.delete(f"/teams/{team}/members/{bob.id}")
    assert answer.status_code == 204, answer.text
    await removed.until(
        lambda: ("unsubscribed", stock, 2000) in removed.said and ("left", members) in removed.said
    )
    own = channels.user(bob.id)
    assert "teams.member_removed" in removed.types(own), "they are told themselves"

    await ann.post(f"/inventory/{beans['id']}/adjust", {"delta": 1, "reason": "delivered"})
    await staying.until(lambda: staying.offsets(stock) == [1, 2])
    heard = len(removed.seen[own])
    await bob.patch("/users/me", {"name": "Robert"})
    await removed.until(lambda: len(removed.seen[own]) > heard)
    assert removed.offsets(stock) == [1], "what came after the removal was heard by others, not by them"


async def test_a_demoted_admin_loses_the_audit_trail_and_keeps_the_stock(
    api: Api, url: str, listeners: Listeners
) -> None:
    ann, bob = await api.person("Ann"), await api.person("Bob")
    team = await api.team(ann, admin=bob)
    screen = await listeners(url, bob.token)
    await screen.follow(channels.audit(team))
    await screen.follow(channels.inventory(team))

    await ann.put(f"/teams/{team}/members/{bob.id}", {"role": "viewer"})

    await screen.until(lambda: ("unsubscribed", channels.audit(team), 2000) in screen.said)
    await item(ann, team)
    await screen.until(lambda: bool(screen.seen[channels.inventory(team)]))


async def test_a_role_that_may_less_is_felt_by_everyone_who_has_it_and_by_nobody_else(
    api: Api, url: str, listeners: Listeners
) -> None:
    ann, bob, cid = await api.person("Ann"), await api.person("Bob"), await api.person("Cid")
    team = await api.team(ann, admin=bob, viewer=cid)
    audit, stock = channels.audit(team), channels.inventory(team)
    role = {"name": "auditor", "permissions": ["audit:read", "inventory:read"]}
    assert (await ann.post(f"/teams/{team}/roles", role)).status_code == 201
    auditor, other = await listeners(url, cid.token), await listeners(url, bob.token)
    await other.follow(audit)
    await ann.put(f"/teams/{team}/members/{cid.id}", {"role": "auditor"})
    await auditor.follow(audit)
    await auditor.follow(stock)

    changed = await ann.put(f"/teams/{team}/roles/auditor", {"permissions": ["inventory:read"]})
    assert changed.status_code == 200, changed.text
    await auditor.until(lambda: ("unsubscribed", audit, 2000) in auditor.said)
    assert "teams.role_redefined" in auditor.types(channels.user(cid.id)), "they are told themselves"
    problem(await cid.get(f"/audit-logs?teamId={team}"), 403, "forbidden")
    await item(ann, team)
    await auditor.until(lambda: bool(auditor.seen[stock]))
    await other.until(lambda: "teams.role_redefined" in other.types(channels.team(team)))
    assert not any(said[0] == "unsubscribed" for said in other.said)
    assert "teams.role_redefined" not in other.types(channels.user(bob.id))


async def test_logging_out_closes_the_sockets_of_that_session_and_of_no_other(
    api: Api, url: str, listeners: Listeners
) -> None:
    ann = await api.person("Ann")
    other = (
        await api.call("POST", "/auth/login", json={"email": ann.email, "password": ann.password})
    ).json()
    leaving, staying = await listeners(url, ann.token), await listeners(url, other["data"]["accessToken"])

    assert (await ann.post("/auth/logout")).status_code == 204

    await leaving.until(lambda: ("disconnected", 3500) in leaving.said)
    own = channels.user(ann.id)
    await staying.until(lambda: "auth.session_revoked" in staying.types(own))
    assert not any(said[0] == "disconnected" for said in staying.said)


async def test_a_deleted_team_falls_silent_for_everyone_and_is_heard_again_once_it_is_back(
    api: Api, url: str, listeners: Listeners
) -> None:
    ann, bob = await api.person("Ann"), await api.person("Bob")
    team = await api.team(ann, viewer=bob)
    stock, members = channels.inventory(team), channels.team(team)
    answer = await ann.post("/auth/api-keys", {"name": "R", "scopes": ["inventory:read"], "teamId": team})
    screens = [await listeners(url, who.token) for who in (ann, bob)]
    robot = await listeners(url, answer.json()["data"]["key"])
    for screen in (*screens, robot):
        await screen.follow(stock)

    assert (await ann.delete(f"/teams/{team}")).status_code == 204
    for screen, who in zip(screens, (ann, bob), strict=True):
        await screen.until(
            lambda screen=screen: (
                ("unsubscribed", stock, 2000) in screen.said and ("left", members) in screen.said
            )
        )
        own = channels.user(who.id)
        await screen.until(lambda screen=screen, own=own: "teams.deleted" in screen.types(own))
    await robot.until(lambda: ("disconnected", 3500) in robot.said)

    joins = [screen.said.count(("joined", members, False)) for screen in screens]
    assert (await ann.post(f"/teams/{team}/restore")).status_code == 200
    for screen, before in zip(screens, joins, strict=True):
        await screen.until(
            lambda screen=screen, before=before: screen.said.count(("joined", members, False)) > before
        )
    await ann.put(f"/teams/{team}", {"name": "Back"})
    for screen in screens:
        await screen.until(lambda screen=screen: "teams.changed" in screen.types(members))
