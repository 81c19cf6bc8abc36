"""Rows of the inventory slice. Limits of numbers stand in model.py and again here, as CHECKs."""

from piccolo.columns import JSONB, BigInt, ForeignKey, OnDelete, Text, Timestamptz
from piccolo.constraints import Check
from piccolo.table import Table

from domain.teams.tables import Teams
from domain.users.tables import Users


class Inventory(Table, tablename="inventory"):
    """One thing counted. `sku` is unique per team among what is not deleted (migrations/)."""

    id = Text(primary_key=True)
    user_id = ForeignKey(references=Users, null=False, on_delete=OnDelete.restrict)
    team_id = ForeignKey(references=Teams, null=False, on_delete=OnDelete.restrict)
    name = Text(null=False)
    sku = Text(null=True, default=None)
    category = Text(null=True, default=None)
    quantity = BigInt(null=False, default=0)
    reserved = BigInt(null=False, default=0)
    unit = Text(null=False, default="piece")
    low_stock_threshold = BigInt(null=True, default=None)
    attributes = JSONB(null=False, default="{}")
    deleted_at = Timestamptz(null=True, default=None)
    version = BigInt(null=False, default=1)
    created_at = Timestamptz(null=False, default=None)
    updated_at = Timestamptz(null=False, default=None)

    inventory_quantity_in_range = Check((quantity >= 0) & (quantity <= 10**12))
    inventory_reserved_in_range = Check((reserved >= 0) & (reserved <= quantity))


class StockMovements(Table, tablename="stock_movements"):
    """Append only; the sum of an item's deltas is its quantity, always.

    (team_id, item_id) is one key, in place of two (migrations/): a movement cannot be another team's than its
    item.
    """

    id = Text(primary_key=True)
    team_id = ForeignKey(references=Teams, null=False, on_delete=OnDelete.restrict)
    item_id = ForeignKey(references=Inventory, null=False, on_delete=OnDelete.restrict)
    delta = BigInt(null=False, default=0)
    quantity_after = BigInt(null=False, default=0)
    reason = Text(null=False)
    reference = Text(null=True, default=None)
    actor = Text(null=True, default=None)
    created_at = Timestamptz(null=False, default=None)

    stock_movements_in_range = Check(quantity_after >= 0)
