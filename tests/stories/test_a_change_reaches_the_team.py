"""The story of the product: a committed change reaches another user's screen, once, in order."""

from app.config import Config
from tests.factories import Api, api_of, item
from tests.listener import Listeners
from tests.processes import running, start


async def test_a_change_of_stock_reaches_a_teammate_with_its_offset(
    api: Api, url: str, listeners: Listeners
) -> None:
    ann, bob = await api.person("Ann"), await api.person("Bob")
    team = await api.team(ann, viewer=bob)
    beans = await item(ann, team)
    channel = f"inventory:{team}"
    screen = await listeners(url, bob.token)
    await screen.follow(channel)

    answer = await ann.post(f"/inventory/{beans['id']}/adjust", {"delta": -3, "reason": "sold"})

    assert answer.status_code == 200
    await screen.until(lambda: bool(screen.seen[channel]))
    [(offset, entry)] = screen.seen[channel]
    assert f"{channel}@{offset}" in answer.headers["X-Stream-Position"].split()
    assert entry["type"] == "inventory.adjusted"
    assert entry["actor"] == ann.id
    assert entry["requestId"] == answer.headers["X-Request-Id"]
    assert entry["data"]["item"] == answer.json()["data"]
    assert entry["data"]["item"]["quantity"] == 7


async def test_changes_made_on_one_process_reach_screens_on_another(
    config: Config, listeners: Listeners
) -> None:
    async with running(config) as here, running(config) as there, api_of(here.url) as api:
        ann, bob = await api.person("Ann"), await api.person("Bob")
        team = await api.team(ann, viewer=bob)
        beans = await item(ann, team)
        channel = f"inventory:{team}"
        screen = await listeners(there.url, bob.token)
        await screen.follow(channel)

        for _ in range(20):
            await ann.post(f"/inventory/{beans['id']}/adjust", {"delta": 1, "reason": "delivered"})

        await screen.until(lambda: len(screen.seen[channel]) == 20)
        assert screen.offsets(channel) == list(range(2, 22))
        assert [entry["data"]["item"]["quantity"] for _, entry in screen.seen[channel]] == list(range(11, 31))


async def test_a_listener_recovers_what_it_missed_while_the_server_was_killed_and_restarted(
    config: Config, listeners: Listeners
) -> None:
    first = await start(config)
    async with running(config) as other, api_of(other.url) as api:
        ann, bob = await api.person("Ann"), await api.person("Bob")
        team = await api.team(ann, viewer=bob)
        beans = await item(ann, team)
        channel = f"inventory:{team}"
        screen = await listeners(first.url, bob.token)
        await screen.follow(channel)
        await ann.post(f"/inventory/{beans['id']}/adjust", {"delta": 1, "reason": "delivered"})
        await screen.until(lambda: screen.offsets(channel) == [2])

        await first.kill()
        for _ in range(5):
            await ann.post(f"/inventory/{beans['id']}/adjust", {"delta": 1, "reason": "delivered"})
        await screen.until(lambda: screen.said[-1][0] == "connecting")
        assert screen.offsets(channel) == [2], "it was to miss something"
        again = await start(config, port=first.port)
        try:
            await screen.until(lambda: screen.offsets(channel) == [2, 3, 4, 5, 6, 7])
            assert ("subscribed", channel, True) in screen.said
            await ann.post(f"/inventory/{beans['id']}/adjust", {"delta": 1, "reason": "delivered"})
            await screen.until(lambda: screen.offsets(channel) == [2, 3, 4, 5, 6, 7, 8])
        finally:
            await again.kill()
