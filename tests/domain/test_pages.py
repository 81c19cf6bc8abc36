"""Pages: a cursor opens the next page of the same list for the same caller, and nothing else."""

import base64
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from domain import ids, pages
from domain.actor import Actor
from domain.errors import Invalid
from domain.inventory import service as inventory
from domain.inventory.model import Filter, Item, NewItem, Sort
from tests.domain.people import somebody, team_of

pytestmark = pytest.mark.usefixtures("url")

VALUES = st.lists(st.text() | st.integers(-(2**63), 2**63 - 1) | st.none() | st.booleans(), max_size=3)


def refused(cursor: str, scope: str) -> bool:
    try:
        pages.unseal(cursor, scope=scope)
    except Invalid as error:
        return error.problem == "invalid_cursor"
    return False


@given(VALUES, st.text(st.characters(exclude_categories=["Cs"])))
def test_a_cursor_gives_back_what_was_sealed_in_it(values: list[Any], scope: str) -> None:
    assert pages.unseal(pages.seal(values, scope=scope), scope=scope) == values


@given(VALUES, st.data())
def test_a_cursor_that_is_altered_anywhere_is_refused(values: list[Any], data: st.DataObject) -> None:
    cursor = pages.seal(values, scope="list")
    place = data.draw(st.integers(0, len(cursor) - 1), label="place")
    character = data.draw(st.characters(exclude_categories=["Cs"]), label="character")
    assume(character != cursor[place])
    assert refused(cursor[:place] + character + cursor[place + 1 :], "list")
    assert refused(cursor[:place] + character + cursor[place:], "list")
    assert refused(cursor[:place], "list")
    assert not refused(cursor, "list")


@given(st.text())
def test_whatever_is_sent_as_a_cursor_is_refused_and_breaks_nothing(text: str) -> None:
    assert refused(text, "list")


@given(st.text(), st.text())
def test_a_cursor_of_one_list_is_refused_by_every_other(one: str, other: str) -> None:
    # Scopes are made by us, out of what reached us as JSON or in an address: no lone surrogates.
    one, other = (text.encode(errors="replace").decode() for text in (one, other))
    assume(one != other)
    cursor = pages.seal([1], scope=one)
    assert not refused(cursor, one)
    assert refused(cursor, other)


def test_a_cursor_is_not_readable_without_its_signature() -> None:
    cursor = pages.seal(["item_1"], scope="list")
    raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    unsigned = base64.urlsafe_b64encode(bytes(16) + raw[16:]).decode().rstrip("=")
    assert raw[16:] == b'["item_1"]'
    assert refused(unsigned, "list")


def test_a_cursor_outlives_a_change_of_the_secret_by_one_and_no_more(rotate: Any) -> None:
    rotate("a" * 32)
    cursor = pages.seal([1], scope="list")
    rotate("b" * 32, "a" * 32)
    assert pages.unseal(cursor, scope="list") == [1]
    rotate("c" * 32, "b" * 32)
    assert refused(cursor, "list")


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4])
def test_a_page_says_that_there_is_more_only_where_there_is(count: int) -> None:
    page = pages.cut(list(range(count)), 2, scope="list", key=lambda row: [row])
    assert page.items == list(range(min(count, 2)))
    assert (page.next_cursor is not None) == (count > 2)
    if page.next_cursor is not None:
        assert pages.unseal(page.next_cursor, scope="list") == [1]


async def stocked() -> tuple[Actor, str, list[Item]]:
    """A team with nine items, of which several share a name and a quantity."""
    ann = await somebody()
    team = await team_of(ann)
    items = [
        await inventory.create(
            ann, NewItem(name=f"Tea {n % 3}", quantity=n % 2, category="tea", team_id=team)
        )
        for n in range(9)
    ]
    return ann, team, items


@pytest.mark.parametrize("sort", ["createdAt", "-createdAt", "name", "-name", "quantity", "-quantity"])
async def test_pages_show_each_row_once_while_others_arrive(sort: Sort) -> None:
    ann, team, items = await stocked()
    seen: list[Item] = []
    cursor, arrived = None, 0
    while True:
        page, _ = await inventory.page(ann, team, Filter(), sort=sort, limit=2, cursor=cursor)
        seen += page.items
        cursor = page.next_cursor
        if cursor is None:
            break
        if arrived < 12:
            for name in ("A", "Tea 1", "Z"):
                await inventory.create(ann, NewItem(name=name, quantity=arrived % 3, team_id=team))
                arrived += 1

    shown = [item.id for item in seen]
    assert arrived, "some must arrive in between for this to mean anything"
    assert len(set(shown)) == len(shown), "none twice"
    assert {item.id for item in items} <= set(shown), "none lost"
    key = {"createdAt": "id", "name": "name", "quantity": "quantity"}[sort.removeprefix("-")]
    order = [(getattr(item, key), item.id) for item in seen]
    assert order == sorted(order, reverse=sort.startswith("-"))


async def test_an_offset_would_have_shown_a_row_twice() -> None:
    ann, team, _ = await stocked()
    first, _ = await inventory.page(ann, team, Filter(), sort="-createdAt", limit=2, cursor=None)
    await inventory.create(ann, NewItem(name="New", quantity=1, team_id=team))
    four, _ = await inventory.page(ann, team, Filter(), sort="-createdAt", limit=4, cursor=None)
    assert four.items[2] in first.items, "what was the second row is the third now"


async def test_a_cursor_belongs_to_its_caller_its_team_its_order_and_its_filter() -> None:
    ann, team, _ = await stocked()
    bob = await somebody("Bob")
    other = await team_of(bob)
    page, _ = await inventory.page(ann, team, Filter(category="tea"), sort="name", limit=2, cursor=None)
    cursor = page.next_cursor
    assert cursor is not None

    await inventory.page(ann, team, Filter(category="tea"), sort="name", limit=5, cursor=cursor)
    elsewhere: list[tuple[Actor, str, Filter, Sort]] = [
        (ann, team, Filter(), "name"),
        (ann, team, Filter(category="tea", query="x"), "name"),
        (ann, team, Filter(category="tea"), "-name"),
        (ann, ann.team(None), Filter(category="tea"), "name"),
        (bob, other, Filter(category="tea"), "name"),
    ]
    for who, where, only, sort in elsewhere:
        with pytest.raises(Invalid, match="another list"):
            await inventory.page(who, where, only, sort=sort, limit=2, cursor=cursor)
    with pytest.raises(Invalid, match="another list"):
        await inventory.movements(ann, page.items[0].id, limit=2, cursor=cursor)


def test_a_cursor_does_not_say_what_it_is_good_for() -> None:
    scope = f"inventory {ids.new('user')}"
    assert scope.encode() not in base64.urlsafe_b64decode(pages.seal([1], scope=scope) + "==")
