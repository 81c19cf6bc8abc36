"""Inventory: things counted.

Owns    inventory, stock_movements
Says    inventory.created, inventory.changed, inventory.adjusted, inventory.deleted
Rules   quantity is never below zero; reserved never exceeds it; the sum of movements is the quantity.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, Final

import asyncpg
import msgspec
from msgspec import UNSET

from domain import channels, db, group_commit, ids, lines, pages, rows, streams
from domain.actor import Actor
from domain.clock import now
from domain.coalesce import Coalesced
from domain.conditions import Conditions
from domain.errors import AnyOf, Conflict, FieldError, Invalid, NotFound, Stale
from domain.events import same
from domain.inventory.model import (
    ATTRIBUTES_BYTES_MAX,
    Adjustment,
    Filter,
    Item,
    ItemAdjusted,
    ItemBody,
    ItemChanged,
    ItemCreated,
    ItemDeleted,
    ItemPatch,
    Movement,
    NewItem,
    Sort,
)
from domain.pages import Page
from domain.record import record
from domain.teams import policy

_COLUMNS = ", ".join(Item.__struct_fields__)
# What a list is ordered by, at last the id; ids sort by the time they were made.
_SORTS: dict[Sort, tuple[tuple[str, ...], str]] = {
    "createdAt": (("id",), "ASC"),
    "-createdAt": (("id",), "DESC"),
    "name": (("name", "id"), "ASC"),
    "-name": (("name", "id"), "DESC"),
    "quantity": (("quantity", "id"), "ASC"),
    "-quantity": (("quantity", "id"), "DESC"),
}


async def create(actor: Actor, new: NewItem) -> Item:
    """Raises Conflict `sku_taken`."""
    team_id = actor.team(new.team_id)
    _require_small(new.attributes)
    at = now()
    item = Item(
        id=ids.new("item"),
        team_id=team_id,
        name=new.name,
        sku=new.sku,
        category=new.category,
        quantity=new.quantity,
        reserved=0,
        unit=new.unit,
        low_stock_threshold=new.low_stock_threshold,
        attributes=new.attributes,
        version=1,
        created_at=at,
        updated_at=at,
    )
    made = ("inventory", {**msgspec.structs.asdict(item), "user_id": actor.user})
    moved = _movement(actor, item, item.quantity, reason="created")
    created = ItemCreated(team_id=team_id, after=item)
    with _sku_clash():
        await group_commit.make(actor, team_id, "inventory:write", created, insert=[made, moved])
    return item


async def get(actor: Actor, item_id: str) -> Item:
    item = await _item.ask(item_id)
    if item is None:
        raise NotFound.of("item")
    await policy.require(actor, item.team_id, "inventory:read", of="item")
    return item


async def page(
    actor: Actor, team_id: str, only: Filter, *, sort: Sort, limit: int, cursor: str | None
) -> tuple[Page[Item], streams.Head]:
    """One page of a team's items, and the position of `inventory:<teamId>` that it is true for."""
    await policy.require(actor, team_id, "inventory:read")
    columns, direction = _SORTS[sort]
    order = ", ".join(f"{column} {direction}" for column in columns)
    scope = f"inventory {actor.user} {team_id} {order} {only}"
    asked = Conditions("team_id = {} AND deleted_at IS NULL", team_id)
    asked.must("category = {}", only.category)
    asked.must("(name ILIKE '%' || {0} || '%' OR sku ILIKE {0} || '%')", db.like(only.query))
    if only.below_threshold:
        asked.must("quantity - reserved <= low_stock_threshold")
    if cursor:
        beyond = ">" if direction == "ASC" else "<"
        places = ", ".join("{}" for _ in columns)
        asked.must(f"({', '.join(columns)}) {beyond} ({places})", *pages.unseal(cursor, scope=scope))
    channel = channels.inventory(team_id)
    head = streams.HEAD_OF.format(f"${len(asked.args) + 1}")
    found, position = await streams.rows_at(
        channel,
        f"""SELECT {_COLUMNS}, {head} FROM inventory
            WHERE {asked.where} ORDER BY {order} LIMIT {limit + 1:d}""",  # noqa: S608 - names of ours
        *asked.args,
    )
    items = [db.as_struct(Item, row) for row in found]
    return pages.cut(
        items, limit, scope=scope, key=lambda item: [getattr(item, column) for column in columns]
    ), position


async def put(actor: Actor, item_id: str, body: ItemBody, *, if_version: AnyOf | None = None) -> Item:
    """Replace what people may edit.

    Raises Stale where `if_version` lacks the current one, Conflict `sku_taken`.
    """
    return await _change(actor, item_id, msgspec.structs.asdict(body), if_version)


async def patch(actor: Actor, item_id: str, body: ItemPatch, *, if_version: AnyOf | None = None) -> Item:
    """Change what is given. Raises as put does."""
    given = {name: value for name, value in msgspec.structs.asdict(body).items() if value is not UNSET}
    return await _change(actor, item_id, given, if_version)


async def adjust(actor: Actor, item_id: str, by: Adjustment, *, if_version: AnyOf | None = None) -> Item:
    """Move stock.

    Raises Stale where `if_version` lacks the current one; Conflict `insufficient_stock`, or
    `unexpected_quantity` with the present one.
    """
    async with db.transaction():
        before = await _locked(actor, item_id)
        Stale.unless(before, if_version)
        if by.expected_quantity is not None and by.expected_quantity != before.quantity:
            raise Conflict(
                f"The quantity is {before.quantity}.", code="unexpected_quantity", quantity=before.quantity
            )
        if by.delta == 0:
            return before
        after = _next(before.moved(by.delta))
        moved = _movement(actor, after, by.delta, reason=by.reason, reference=by.reference)
        await rows.write(insert=[moved], update=[_changed(after)])
        await record(actor, ItemAdjusted(team_id=after.team_id, before=before, after=after, by=by))
    return after


async def delete(actor: Actor, item_id: str, *, if_version: AnyOf | None = None) -> None:
    """Take an item out of the inventory; its movements stay.

    Raises Conflict `reserved` while some of it is held.
    """
    async with db.transaction():
        before = await _locked(actor, item_id)
        Stale.unless(before, if_version)
        if before.reserved:
            raise Conflict(
                f"{before.reserved} of it are reserved.", code="reserved", reserved=before.reserved
            )
        after = _next(before)
        deleted = {"id": item_id, "version": after.version, "updated_at": after.updated_at}
        await rows.write(update=[("inventory", {**deleted, "deleted_at": after.updated_at})])
        await record(actor, ItemDeleted(team_id=after.team_id, after=after))


async def movements(actor: Actor, item_id: str, *, limit: int, cursor: str | None) -> Page[Movement]:
    """How an item's stock came to be what it is, newest first."""
    item = await get(actor, item_id)
    scope = f"movements {actor.user} {item.id}"
    asked = Conditions("item_id = {}", item.id)
    asked.must("id < {}", pages.unseal(cursor, scope=scope)[0] if cursor else None)
    found = await db.fetch(
        f"SELECT * FROM stock_movements WHERE {asked.where} ORDER BY id DESC LIMIT {limit + 1:d}",  # noqa: S608 - names of ours
        *asked.args,
    )
    return pages.cut(
        [db.as_struct(Movement, row) for row in found], limit, scope=scope, key=lambda row: [row.id]
    )


async def _change(actor: Actor, item_id: str, given: dict[str, Any], if_version: AnyOf | None) -> Item:
    _require_small(given.get("attributes", {}))
    async with db.transaction():
        before = await _locked(actor, item_id)
        Stale.unless(before, if_version)
        delta = given.get("quantity", before.quantity) - before.quantity
        after = msgspec.structs.replace(before.moved(delta), **given)
        if same(after, before):
            return before
        after = _next(after)
        moved = [_movement(actor, after, delta, reason="set")] if delta else []
        with _sku_clash():
            await rows.write(insert=moved, update=[_changed(after)])
        await record(actor, ItemChanged(team_id=after.team_id, before=before, after=after))
    return after


async def _items(item_ids: Collection[str]) -> dict[str, Item]:
    rows = await db.fetch(
        f"SELECT {_COLUMNS} FROM inventory WHERE id = ANY($1) AND deleted_at IS NULL",  # noqa: S608 - names of ours
        list(item_ids),
    )
    return {row["id"]: db.as_struct(Item, row) for row in rows}


_item: Final = Coalesced(_items)
lines.of_process.append(_item.waiting_s)


async def _locked(actor: Actor, item_id: str) -> Item:
    """The item, to be written: nobody else changes it before this transaction ends."""
    row = await db.fetchrow(
        f"SELECT {_COLUMNS} FROM inventory WHERE id = $1 AND deleted_at IS NULL FOR NO KEY UPDATE",  # noqa: S608 - names of ours
        item_id,
    )
    if row is None:
        raise NotFound.of("item")
    item = db.as_struct(Item, row)
    await policy.require(actor, item.team_id, "inventory:write", of="item")
    return item


def _require_small(attributes: dict[str, Any]) -> None:
    if len(msgspec.json.encode(attributes)) > ATTRIBUTES_BYTES_MAX:
        detail = f"They take more than {ATTRIBUTES_BYTES_MAX} bytes as JSON."
        raise Invalid(detail, errors=(FieldError("/attributes", "invalid", detail),))


def _next(item: Item) -> Item:
    return msgspec.structs.replace(item, version=item.version + 1, updated_at=now())


def _changed(item: Item) -> rows.Row:
    row = msgspec.structs.asdict(item)
    del row["team_id"], row["created_at"]
    return "inventory", row


def _movement(actor: Actor, item: Item, delta: int, *, reason: str, reference: str | None = None) -> rows.Row:
    return "stock_movements", {
        "id": ids.new("mov"),
        "team_id": item.team_id,
        "item_id": item.id,
        "delta": delta,
        "quantity_after": item.quantity,
        "reason": reason,
        "reference": reference,
        "actor": actor.user_id,
        "created_at": item.updated_at,
    }


@contextmanager
def _sku_clash() -> Iterator[None]:
    """Turns the unique index's refusal into a Conflict."""
    try:
        yield
    except asyncpg.UniqueViolationError as taken:
        raise Conflict("Another item of this team has this SKU.", code="sku_taken") from taken
