"""Lists: each thing once, page by page, while others come; and cursors that open nothing else."""

from typing import Any

import pytest

from tests.app.company import Company, problem
from tests.app.inviting import address, invited
from tests.factories import Api, Person, item

SORTS = ("createdAt", "-createdAt", "name", "-name", "quantity", "-quantity")
LISTS = (
    "/teams",
    "/teams/{team}/members",
    "/teams/{team}/invites",
    "/inventory?teamId={team}",
    "/audit-logs?teamId={team}",
)


async def walk(person: Person, path: str, *, meanwhile: Any = None) -> list[dict[str, Any]]:
    """Everything that a list has, page by page; `meanwhile` happens after the first page."""
    seen: list[dict[str, Any]] = []
    cursor = ""
    for turn in range(100):
        answer = await person.get(f"{path}{cursor}")
        assert answer.status_code == 200, answer.text
        seen += answer.json()["data"]
        if turn == 0 and meanwhile is not None:
            await meanwhile()
        if answer.json()["nextCursor"] is None:
            return seen
        cursor = f"&cursor={answer.json()['nextCursor']}"
    raise AssertionError("this list does not end")


@pytest.mark.parametrize("sort", SORTS)
async def test_a_walk_has_each_item_once_and_in_order_while_others_come(api: Api, sort: str) -> None:
    ann = await api.person()
    made = [
        await item(ann, None, name=name, quantity=quantity)
        for name, quantity in (("b", 2), ("a", 1), ("B", 2), ("b", 3), ("ä", 2), ("c", 10), (" b", 2))
    ]

    async def others_come() -> None:
        for name, quantity in (("aa", 0), ("bb", 2), ("zz", 99)):
            await item(ann, None, name=name, quantity=quantity)

    seen = await walk(ann, f"/inventory?sort={sort}&limit=2", meanwhile=others_come)
    ids = [thing["id"] for thing in seen]
    assert len(ids) == len(set(ids)), "nothing comes twice"
    before = [thing["id"] for thing in made]
    assert set(before) <= set(ids), "nothing is left out"
    if sort.endswith("quantity"):
        quantities = [thing["quantity"] for thing in seen]
        assert quantities == sorted(quantities, reverse=sort.startswith("-"))
    elif sort.endswith("createdAt"):
        order = [one for one in ids if one in before]
        assert order == (before[::-1] if sort.startswith("-") else before)
    else:
        other = "name" if sort.startswith("-") else "-name"
        assert [thing["id"] for thing in await walk(ann, f"/inventory?sort={other}&limit=3")][::-1] == [
            thing["id"] for thing in await walk(ann, f"/inventory?sort={sort}&limit=4")
        ]


@pytest.mark.parametrize("path", LISTS)
async def test_a_page_has_from_one_to_a_hundred(team: Company, path: str) -> None:
    path = path.format(team=team.team)
    join = "&" if "?" in path else "?"
    for limit in ("0", "-1", "101", "1000000000000000000000", "x", "1.5", "", "null"):
        answer = await team["owner"].get(f"{path}{join}limit={limit}")
        assert problem(answer, 422, "invalid")["errors"][0]["pointer"] == "/limit"
    for limit in ("1", "100"):
        answer = await team["owner"].get(f"{path}{join}limit={limit}")
        assert answer.status_code == 200
        assert 1 <= len(answer.json()["data"]) <= int(limit)


@pytest.fixture(scope="module", autouse=True)
async def something(team: Company) -> None:
    for _ in range(3):
        await item(team["owner"], team.team)
        await invited(team["owner"], team.team, address())
    for _ in range(2):
        await team["owner"].post("/teams", {"name": "Another"})
        await team["admin"].post("/teams", {"name": "Another"})


@pytest.mark.parametrize("path", LISTS)
async def test_a_cursor_opens_the_list_it_came_from_and_nothing_else(team: Company, path: str) -> None:
    here = path.format(team=team.team)
    join = "&" if "?" in here else "?"
    cursor = (await team["owner"].get(f"{here}{join}limit=1")).json()["nextCursor"]
    assert cursor, "there must be a next page for this to mean anything"
    assert (await team["owner"].get(f"{here}{join}limit=1&cursor={cursor}")).status_code == 200

    flipped = ("B" if cursor[0] == "A" else "A") + cursor[1:]
    for bad in (flipped, cursor[:-4], cursor * 2, "x", "é", "A" * 1000):
        problem(await team["owner"].get(f"{here}{join}cursor={bad}"), 422, "invalid_cursor")
    problem(await team["owner"].get(f"{here}{join}cursor={'A' * 2001}"), 422, "invalid")
    problem(await team["admin"].get(f"{here}{join}cursor={cursor}"), 422, "invalid_cursor")
    for other in LISTS:
        if other != path:
            there = other.format(team=team.team)
            answer = await team["owner"].get(f"{there}{'&' if '?' in there else '?'}cursor={cursor}")
            problem(answer, 422, "invalid_cursor")


async def test_a_cursor_belongs_to_its_filter_and_its_order(team: Company) -> None:
    here = f"/inventory?teamId={team.team}&limit=1"
    cursor = (await team["owner"].get(here)).json()["nextCursor"]
    for other in ("sort=name", "category=a", "query=a", "belowThreshold=true"):
        problem(await team["owner"].get(f"{here}&{other}&cursor={cursor}"), 422, "invalid_cursor")
    problem(await team["owner"].get(f"/inventory?cursor={cursor}"), 422, "invalid_cursor")


@pytest.mark.parametrize(
    ("path", "channel"), list(zip(LISTS[1:], ("team", "team", "inventory", "audit"), strict=True))
)
async def test_a_list_says_where_its_channel_stood(team: Company, path: str, channel: str) -> None:
    here = path.format(team=team.team)
    body = (await team["owner"].get(here)).json()
    assert set(body) == {"success", "data", "nextCursor", "position"}
    assert set(body["position"]) == {"channel", "epoch", "offset"}
    assert body["position"]["channel"] == f"{channel}:{team.team}"
    assert body["success"] is True
    stood = body["position"]["offset"]
    assert stood > 0
    changed = {
        "team": lambda: invited(team["owner"], team.team, address()),
        "inventory": lambda: item(team["owner"], team.team),
        "audit": lambda: item(team["owner"], team.team),
    }
    await changed[channel]()
    after = (await team["owner"].get(here)).json()["position"]
    assert after == {**body["position"], "offset": stood + 1}


async def test_the_longest_names_can_be_paged_through(api: Api) -> None:
    ann = await api.person()
    for number in range(3):
        await item(ann, name=f"{number}" + "\x01" * 199 if number else "😀" * 200)
    path, seen = "/inventory?sort=name&limit=1", 0
    page = (await ann.get(path)).json()
    while page["nextCursor"]:
        seen += len(page["data"])
        answer = await ann.get(f"{path}&cursor={page['nextCursor']}")
        assert answer.status_code == 200, answer.text
        page = answer.json()
    assert seen + len(page["data"]) == 3
