"""A movement belongs to the team of its item, and the database sees to it: (team_id, item_id) is one key."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from domain.db import engine

ID = "2026-11-22T22:01:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "movements are in the team of their item"

FORWARDS = """
ALTER TABLE stock_movements DISABLE TRIGGER stock_movements_append_only;
UPDATE stock_movements m SET team_id = i.team_id FROM inventory i WHERE i.id = m.item_id;
ALTER TABLE stock_movements ENABLE TRIGGER stock_movements_append_only;
ALTER TABLE inventory ADD CONSTRAINT inventory_of_team UNIQUE (team_id, id);
ALTER TABLE stock_movements ADD CONSTRAINT stock_movements_item_of_team
    FOREIGN KEY (team_id, item_id) REFERENCES inventory (team_id, id) ON DELETE RESTRICT;
"""
BACKWARDS = """
ALTER TABLE stock_movements DROP CONSTRAINT stock_movements_item_of_team;
ALTER TABLE inventory DROP CONSTRAINT inventory_of_team;
"""


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="maycole", description=DESCRIPTION)

    async def run() -> None:
        await engine.current_transaction.get().connection.execute(FORWARDS)

    async def run_backwards() -> None:
        await engine.current_transaction.get().connection.execute(BACKWARDS)

    manager.add_raw(run)
    manager.add_raw_backwards(run_backwards)
    return manager
