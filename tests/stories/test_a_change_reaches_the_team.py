"""The story of the product: a committed change reaches another user's screen, once, in order, with its offset."""

from tests.factories import Api, item
from tests.listener import Listeners


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
    positions = answer.headers["X-Stream-Position"].split()
    await screen.until(lambda: bool(screen.seen[channel]))
    [(offset, entry)] = screen.seen[channel]
    assert f"{channel}@{offset}" in positions
    assert entry["type"] == "inventory.adjusted"
    assert entry["actor"] == ann.id
    assert entry["data"]["item"] == answer.json()["data"]
    assert entry["data"]["item"]["quantity"] == 7
