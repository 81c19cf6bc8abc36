from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.columns.column_types import ForeignKey

ID = "2026-11-22T22:02:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "movements have a team, always"


async def forwards():
    manager = MigrationManager(
        migration_id=ID, app_name="maycole", description=DESCRIPTION
    )

    manager.alter_column(
        table_class_name="StockMovements",
        tablename="stock_movements",
        column_name="team_id",
        db_column_name="team_id",
        params={"null": False},
        old_params={"null": True},
        column_class=ForeignKey,
        old_column_class=ForeignKey,
        schema=None,
    )

    return manager
