"""An API key is for one version of the API: the newest when it was made."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.columns.column_types import Text

ID = "2026-11-23T00:20:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "API keys: the version of the API that they are for"


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="maycole", description=DESCRIPTION)
    manager.add_column(
        table_class_name="ApiKeys",
        tablename="api_keys",
        column_name="api_version",
        db_column_name="api_version",
        column_class_name="Text",
        column_class=Text,
        params={
            # Piccolo takes a default that looks like a date for one: the next file says it to keys there are.
            "default": "",
            "null": False,
            "primary_key": False,
            "unique": False,
            "index": False,
            "choices": None,
            "db_column_name": None,
            "secret": False,
        },
        schema=None,
    )
    return manager
