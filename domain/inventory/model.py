"""Nouns of the inventory slice."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from domain import channels
from domain.errors import Conflict
from domain.events import Change, Event, Resource, difference
from domain.ids import Id

QUANTITY_MAX = 10**12
# Attributes travel in every live entry and audit row of their item, and Postgres indexes no more than 1 MB
# of words at once.
ATTRIBUTES_BYTES_MAX = 16 * 1024

Quantity = Annotated[int, Meta(ge=0, le=QUANTITY_MAX, description="how many, in `unit`s; never below zero")]
Delta = Annotated[
    int, Meta(ge=-QUANTITY_MAX, le=QUANTITY_MAX, description="how many more (or, negative, fewer)")
]
ItemName = Annotated[
    str, Meta(min_length=1, max_length=200, pattern=r"\S", description="what the thing is called")
]
Sku = Annotated[str, Meta(min_length=1, max_length=64, description="stock keeping unit; unique in a team")]
Category = Annotated[str, Meta(min_length=1, max_length=100, description="what the thing is filed under")]
UnitName = Annotated[str, Meta(min_length=1, max_length=20, description="what is counted: piece, kg, box")]
Reason = Annotated[str, Meta(min_length=1, max_length=200, description="why the stock changed")]
Reference = Annotated[str, Meta(min_length=1, max_length=200, description="an order, a delivery note")]
Attributes = Annotated[
    dict[str, Any], Meta(max_length=50, description="anything else: at most 50 members, 16 KiB as JSON")
]

Sort = Literal["createdAt", "-createdAt", "name", "-name", "quantity", "-quantity"]


class Item(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One thing counted."""

    id: str
    team_id: str
    name: str
    sku: Annotated[str | None, Meta(description="stock keeping unit; unique in a team")]
    category: Annotated[str | None, Meta(description="what the thing is filed under")]
    quantity: Annotated[int, Meta(description="never below zero")]
    reserved: Annotated[int, Meta(description="held by reservations; never more than `quantity`")]
    unit: Annotated[str, Meta(description="what is counted: piece, kg, box")]
    low_stock_threshold: Annotated[int | None, Meta(description="from here on down it runs low")]
    attributes: Annotated[dict[str, Any], Meta(description="anything else")]
    version: Annotated[int, Meta(description="raised by each change; the ETag")]
    created_at: datetime
    updated_at: datetime

    def moved(self, delta: int) -> "Item":
        """The item with `delta` more. Raises Conflict `insufficient_stock` below what is reserved."""
        quantity = self.quantity + delta
        if quantity < self.reserved:
            available = self.quantity - self.reserved
            raise Conflict(f"Only {available} left.", code="insufficient_stock", available=available)
        if quantity > QUANTITY_MAX:
            raise Conflict("That is more than can be counted.", code="quantity_too_large", most=QUANTITY_MAX)
        return msgspec.structs.replace(self, quantity=quantity)


class NewItem(msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """What an item is made from."""

    name: ItemName
    quantity: Quantity
    sku: Sku | None = None
    category: Category | None = None
    unit: UnitName = "piece"
    low_stock_threshold: Quantity | None = None
    attributes: Attributes = {}
    team_id: Id | None = None


class ItemBody(msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """The whole of an item, for PUT: what is left out falls back to its default."""

    name: ItemName
    quantity: Quantity
    sku: Sku | None = None
    category: Category | None = None
    unit: UnitName = "piece"
    low_stock_threshold: Quantity | None = None
    attributes: Attributes = {}


class ItemPatch(msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """Parts of an item, for PATCH: what is left out stays."""

    name: ItemName | UnsetType = UNSET
    quantity: Quantity | UnsetType = UNSET
    sku: Sku | None | UnsetType = UNSET
    category: Category | None | UnsetType = UNSET
    unit: UnitName | UnsetType = UNSET
    low_stock_threshold: Quantity | None | UnsetType = UNSET
    attributes: Attributes | UnsetType = UNSET


class Adjustment(msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """A movement of stock."""

    delta: Delta
    reason: Reason
    reference: Reference | None = None
    expected_quantity: Annotated[
        Quantity | None, Meta(description="refuse (409) unless this is the quantity before")
    ] = None


class Movement(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One change of an item's stock. The deltas of an item add up to its quantity."""

    id: str
    item_id: str
    delta: Annotated[int, Meta(description="how many more (or, negative, fewer)")]
    quantity_after: Annotated[int, Meta(description="how many there were then")]
    reason: Annotated[str, Meta(description="why the stock changed; `created` and `set` are our own")]
    reference: Annotated[str | None, Meta(description="an order, a delivery note")]
    actor: Annotated[str | None, Meta(description="the id of whoever did it")]
    created_at: datetime


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which items: every member that is given must match."""

    category: str | None = None
    query: str | None = None
    below_threshold: bool = False


class ItemNews(msgspec.Struct, frozen=True, rename="camel"):
    """An item as it is now, or as it was when it was deleted."""

    item: Item


class AdjustmentNews(ItemNews, frozen=True, rename="camel"):
    """An item as it is now, and what moved its stock."""

    delta: Annotated[int, Meta(description="how many more (or, negative, fewer)")]
    reason: Annotated[str, Meta(description="why the stock changed")]


class ItemEvent(Event, frozen=True, kw_only=True):
    """News for all who follow the team's inventory: the item as it is now."""

    after: Item

    def resource(self) -> Resource:
        return Resource("item", self.after.id)

    def channels(self) -> tuple[str, ...]:
        return (channels.inventory(self.after.team_id),)

    def news(self) -> ItemNews:
        return ItemNews(self.after)


class ItemCreated(ItemEvent, frozen=True, kw_only=True):
    """There is one more thing to count."""

    type = "inventory.created"

    def changes(self) -> dict[str, Change]:
        return difference(None, self.after, but=("id", "version", "createdAt", "updatedAt"))


class ItemChanged(ItemEvent, frozen=True, kw_only=True):
    """An item was edited."""

    type = "inventory.changed"

    before: Item

    def changes(self) -> dict[str, Change]:
        return difference(self.before, self.after, but=("version", "updatedAt"))


class ItemAdjusted(ItemChanged, frozen=True, kw_only=True):
    """An item's stock moved."""

    type = "inventory.adjusted"

    by: Adjustment

    def news(self) -> AdjustmentNews:
        return AdjustmentNews(self.after, self.by.delta, self.by.reason)

    def metadata(self) -> dict[str, Any]:
        return {"reason": self.by.reason, "reference": self.by.reference}


class ItemDeleted(ItemEvent, frozen=True, kw_only=True):
    """An item is gone."""

    type = "inventory.deleted"
