"""A movement's item and its team are held by one foreign key, the one of both together.

With (team_id, item_id) in inventory, item_id alone and team_id alone are there as well: two look-ups less for
each movement.
"""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from domain.sql_migration import sql_migration

ID = "2026-11-29T21:40:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "movements: one foreign key instead of three"

FORWARDS = """
ALTER TABLE stock_movements
    DROP CONSTRAINT stock_movements_item_id_fkey,
    DROP CONSTRAINT stock_movements_team_id_fkey;
"""
BACKWARDS = """
ALTER TABLE stock_movements
    ADD CONSTRAINT stock_movements_item_id_fkey FOREIGN KEY (item_id) REFERENCES inventory (id)
        ON DELETE RESTRICT ON UPDATE CASCADE,
    ADD CONSTRAINT stock_movements_team_id_fkey FOREIGN KEY (team_id) REFERENCES teams (id)
        ON DELETE RESTRICT ON UPDATE CASCADE;
"""


async def forwards() -> MigrationManager:
    return sql_migration(ID, DESCRIPTION, forwards=FORWARDS, backwards=BACKWARDS)
