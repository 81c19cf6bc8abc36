"""Stock: never below zero, always the sum of its movements, and silent where nothing changes."""

import asyncio

import asyncpg
import pytest

from domain import channels, streams
from domain.actor import Actor
from domain.errors import Conflict, DomainError, Forbidden, NotFound, Stale
from domain.inventory import service as inventory
from domain.inventory.model import Adjustment, Item, ItemBody, ItemPatch, NewItem
from tests.domain.people import somebody, team_of

STOCK = 20
BUYERS = 50


async def beans(owner: Actor, team_id: str, quantity: int = STOCK) -> Item:
    return await inventory.create(
        owner, NewItem(name="Coffee beans", quantity=quantity, team_id=team_id, attributes={"roast": "dark"})
    )


async def counted(outside: asyncpg.Connection, item_id: str) -> tuple[int, int]:
    """The quantity and the sum of the movements, at one moment."""
    row = await outside.fetchrow(
        """SELECT quantity, (SELECT sum(delta)::bigint FROM stock_movements WHERE item_id = i.id) AS moved
           FROM inventory i WHERE id = $1""",
        item_id,
    )
    assert row is not None
    return row["quantity"], row["moved"]


async def last_offset(team_id: str) -> int:
    return (await streams.open_head(channels.inventory(team_id))).offset


async def test_fifty_people_take_one_each_of_twenty_and_twenty_get_one(outside: asyncpg.Connection) -> None:
    ann = await somebody()
    team = await team_of(ann)
    item = await beans(ann, team)

    async def take() -> int:
        after = await inventory.adjust(ann, item.id, Adjustment(delta=-1, reason="sold"))
        return after.quantity

    taking = asyncio.gather(*(take() for _ in range(BUYERS)), return_exceptions=True)
    looks: set[int] = set()
    while not taking.done():
        quantity, moved = await counted(outside, item.id)
        assert quantity == moved, "at every moment"
        assert quantity >= 0
        looks.add(quantity)
    endings = await taking

    assert sorted(ending for ending in endings if isinstance(ending, int)) == list(range(STOCK))
    refused = [ending for ending in endings if not isinstance(ending, int)]
    assert len(refused) == BUYERS - STOCK
    assert all(isinstance(one, Conflict) and one.problem == "insufficient_stock" for one in refused), refused
    assert all(isinstance(one, Conflict) and one.details == {"available": 0} for one in refused)
    assert await counted(outside, item.id) == (0, 0)
    assert len(looks) > 2, "somebody must have looked while they took for this to mean anything"


async def test_without_the_lock_two_of_them_would_take_the_same_one(outside: asyncpg.Connection) -> None:
    ann = await somebody()
    item = await beans(ann, await team_of(ann))
    both_have_read = asyncio.Barrier(2)

    async def take_naively() -> None:
        before = await inventory.get(ann, item.id)
        await both_have_read.wait()
        await outside_pool(item.id, before.quantity - 1)

    async def outside_pool(item_id: str, quantity: int) -> None:
        async with lock:
            await outside.execute("UPDATE inventory SET quantity = $2 WHERE id = $1", item_id, quantity)

    lock = asyncio.Lock()
    await asyncio.gather(take_naively(), take_naively())
    assert (await inventory.get(ann, item.id)).quantity == STOCK - 1, "two were taken, one is gone"


async def test_every_way_to_set_a_quantity_is_a_movement(outside: asyncpg.Connection) -> None:
    ann = await somebody()
    item = await beans(ann, await team_of(ann))
    await inventory.adjust(ann, item.id, Adjustment(delta=5, reason="delivered", reference="note 7"))
    await inventory.patch(ann, item.id, ItemPatch(quantity=7))
    await inventory.put(ann, item.id, ItemBody(name="Beans", quantity=100))

    page = await inventory.movements(ann, item.id, limit=10, cursor=None)
    assert [(one.delta, one.quantity_after, one.reason) for one in page.items] == [
        (93, 100, "set"),
        (-18, 7, "set"),
        (5, 25, "delivered"),
        (20, 20, "created"),
    ]
    assert page.items[2].reference == "note 7"
    assert await counted(outside, item.id) == (100, 100)


async def test_the_database_itself_refuses_what_the_verbs_refuse(outside: asyncpg.Connection) -> None:
    ann = await somebody()
    item = await beans(ann, await team_of(ann))
    for wrong in (
        "UPDATE inventory SET quantity = -1",
        "UPDATE inventory SET reserved = quantity + 1",
        "UPDATE inventory SET reserved = -1",
    ):
        with pytest.raises(asyncpg.CheckViolationError):
            await outside.execute(f"{wrong} WHERE id = $1", item.id)
    for change in ("UPDATE stock_movements SET delta = 0", "DELETE FROM stock_movements"):
        with pytest.raises(asyncpg.RaiseError, match="append only"):
            await outside.execute(f"{change} WHERE item_id = $1", item.id)


@pytest.mark.usefixtures("url")
async def test_what_is_reserved_cannot_be_taken_and_its_item_cannot_be_deleted(
    outside: asyncpg.Connection,
) -> None:
    ann = await somebody()
    item = await beans(ann, await team_of(ann))
    await outside.execute("UPDATE inventory SET reserved = 15 WHERE id = $1", item.id)

    with pytest.raises(Conflict) as refused:
        await inventory.adjust(ann, item.id, Adjustment(delta=-6, reason="sold"))
    assert (refused.value.problem, refused.value.details) == ("insufficient_stock", {"available": 5})
    with pytest.raises(Conflict, match="reserved"):
        await inventory.delete(ann, item.id)
    assert (await inventory.adjust(ann, item.id, Adjustment(delta=-5, reason="sold"))).quantity == 15


@pytest.mark.usefixtures("url")
@pytest.mark.parametrize("how", ["adjust", "patch", "patch to the same", "put"])
async def test_a_change_that_changes_nothing_says_nothing_and_raises_no_version(how: str) -> None:
    ann = await somebody()
    team = await team_of(ann)
    item = await beans(ann, team)
    before = await last_offset(team)

    if how == "adjust":
        after = await inventory.adjust(ann, item.id, Adjustment(delta=0, reason="looked"))
    elif how == "patch":
        after = await inventory.patch(ann, item.id, ItemPatch())
    elif how == "patch to the same":
        after = await inventory.patch(ann, item.id, ItemPatch(quantity=STOCK, attributes={"roast": "dark"}))
    else:
        body = ItemBody(name="Coffee beans", quantity=STOCK, attributes={"roast": "dark"})
        after = await inventory.put(ann, item.id, body)

    assert after == item
    assert await last_offset(team) == before
    assert len((await inventory.movements(ann, item.id, limit=10, cursor=None)).items) == 1
    await inventory.adjust(ann, item.id, Adjustment(delta=1, reason="found"))
    assert await last_offset(team) == before + 1, "and a change that changes something does say so"


@pytest.mark.usefixtures("url")
@pytest.mark.parametrize(("was", "becomes"), [(1, True), (0, False), (1, 1.0)], ids=str)
async def test_a_value_of_another_kind_is_a_change_though_python_calls_it_equal(
    was: object, becomes: object
) -> None:
    ann = await somebody()
    team = await team_of(ann)
    item = await inventory.create(ann, NewItem(name="Lamp", quantity=1, team_id=team, attributes={"on": was}))
    after = await inventory.patch(ann, item.id, ItemPatch(attributes={"on": becomes}))
    assert type(after.attributes["on"]) is type(becomes)
    stored = await inventory.get(ann, item.id)
    assert type(stored.attributes["on"]) is type(becomes)


@pytest.mark.usefixtures("url")
async def test_an_older_version_and_another_quantity_than_expected_change_nothing() -> None:
    ann = await somebody()
    item = await beans(ann, await team_of(ann))
    moved = await inventory.adjust(ann, item.id, Adjustment(delta=-1, reason="sold", expected_quantity=STOCK))

    with pytest.raises(Stale) as stale:
        await inventory.patch(ann, item.id, ItemPatch(name="Tea"), if_version=frozenset({item.version}))
    assert stale.value.details["current"] == moved
    with pytest.raises(Conflict) as unexpected:
        await inventory.adjust(ann, item.id, Adjustment(delta=-1, reason="sold", expected_quantity=STOCK))
    assert unexpected.value.problem == "unexpected_quantity"
    assert await inventory.get(ann, item.id) == moved
    await inventory.patch(ann, item.id, ItemPatch(name="Tea"), if_version=frozenset({moved.version}))


@pytest.mark.usefixtures("url")
async def test_a_stranger_finds_no_item_and_a_viewer_may_look_but_not_change() -> None:
    ann, bob, eve = await somebody("Ann"), await somebody("Bob"), await somebody("Eve")
    team = await team_of(ann, {"viewer": bob})
    item = await beans(ann, team)

    assert await inventory.get(bob, item.id) == item
    for person, refusal in ((bob, Forbidden), (eve, NotFound)):
        wanted: type[DomainError] = refusal
        with pytest.raises(wanted):
            await inventory.adjust(person, item.id, Adjustment(delta=1, reason="found"))
        with pytest.raises(wanted):
            await inventory.patch(person, item.id, ItemPatch(name="Tea"))
        with pytest.raises(wanted):
            await inventory.delete(person, item.id)
    with pytest.raises(NotFound) as foreign:
        await inventory.get(eve, item.id)
    await inventory.delete(ann, item.id)
    with pytest.raises(NotFound) as absent:
        await inventory.get(ann, item.id)
    assert str(foreign.value) == str(absent.value), "what is foreign looks like what is not there"
