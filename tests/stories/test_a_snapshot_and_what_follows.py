"""Snapshot plus entries equals a later snapshot: what every live view is built on."""

import asyncio
import random
from typing import Any

import pytest
from centrifuge import StreamPosition

from domain import channels
from tests.factories import Api, Person, item
from tests.listener import Listener, Listeners

WRITERS = 6
CHANGES = 25


async def _items(person: Person, team: str) -> tuple[dict[str, Any], StreamPosition]:
    answer = (await person.get(f"/inventory?teamId={team}&limit=100")).json()
    position = answer["position"]
    return (
        {thing["id"]: thing for thing in answer["data"]},
        StreamPosition(position["offset"], position["epoch"]),
    )


def _apply(items: dict[str, Any], entry: dict[str, Any]) -> None:
    thing = entry["data"]["item"]
    if entry["type"] == "inventory.deleted":
        del items[thing["id"]]
    else:
        items[thing["id"]] = thing


async def _write(person: Person, team: str, dice: random.Random) -> None:
    mine: list[str] = []
    for number in range(CHANGES):
        if not mine or dice.random() < 0.2:
            mine.append((await item(person, team, name=f"thing {number}"))["id"])
        elif dice.random() < 0.1:
            await person.delete(f"/inventory/{mine.pop()}")
        elif dice.random() < 0.5:
            # Now and then this would go below zero: refused, and so no news.
            delta = dice.randint(-4, 4)
            await person.post(f"/inventory/{dice.choice(mine)}/adjust", {"delta": delta, "reason": "test"})
        else:
            await person.patch(f"/inventory/{dice.choice(mine)}", {"name": f"renamed {number}"})


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_list_and_the_entries_after_its_position_make_the_later_list(
    api: Api, url: str, listeners: Listeners, seed: int
) -> None:
    ann, bob = await api.person("Ann"), await api.person("Bob")
    team = await api.team(ann, viewer=bob)
    channel = channels.inventory(team)
    screen = await listeners(url, bob.token)
    dice = random.Random(seed)  # noqa: S311 - the same dice each time
    writing = asyncio.gather(*(_write(ann, team, random.Random(dice.random())) for _ in range(WRITERS)))  # noqa: S311
    views: list[tuple[dict[str, Any], StreamPosition]] = []

    async def load_state(_: Any) -> StreamPosition:
        views.append(await _items(bob, team))
        return views[-1][1]

    await screen.follow(channel, get_state=load_state)
    await writing
    later, end = await _items(bob, team)
    await screen.until(lambda: screen.offsets(channel)[-1:] == [end.offset])

    items, start = views[0]
    assert start.offset < end.offset, "something must have happened in between"
    assert screen.offsets(channel) == list(range(start.offset + 1, end.offset + 1))
    for _, entry in screen.seen[channel]:
        _apply(items, entry)
    assert items == later


async def test_a_page_of_the_audit_trail_and_the_entries_after_it_make_the_later_page(
    api: Api, url: str, listeners: Listeners
) -> None:
    ann = await api.person("Ann")
    team = await api.team(ann)
    channel = channels.audit(team)
    screen = await listeners(url, ann.token)
    await screen.follow(channel)
    # That this page was read is told, too: it is the first entry after it.
    before = (await ann.get(f"/audit-logs?teamId={team}&limit=100")).json()

    await _write(ann, team, random.Random(7))  # noqa: S311 - the same dice each time

    after = (await ann.get(f"/audit-logs?teamId={team}&limit=100")).json()
    await screen.until(lambda: screen.offsets(channel)[-1:] == [after["position"]["offset"]])
    told = _news_since(screen, channel, before["position"]["offset"])
    assert told, "something must have happened in between"
    assert [*told, *before["data"]] == after["data"]


def _news_since(screen: Listener, channel: str, offset: int) -> list[dict[str, Any]]:
    """The audit rows that were pushed, newest first; a row's seq is its entry's offset."""
    rows = [{**entry["data"], "seq": at} for at, entry in screen.seen[channel] if at > offset]
    return rows[::-1]
