"""API keys that there are were made under the first version of the API."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from domain.db import engine

ID = "2026-11-23T00:21:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "API keys: those there are, for the first version of the API"

FORWARDS = """
UPDATE api_keys SET api_version = '2026-11-22';
ALTER TABLE api_keys ADD CONSTRAINT api_keys_api_version CHECK (api_version ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}$');
"""
BACKWARDS = "ALTER TABLE api_keys DROP CONSTRAINT api_keys_api_version;"


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="maycole", description=DESCRIPTION)

    async def run() -> None:
        await engine.current_transaction.get().connection.execute(FORWARDS)

    async def run_backwards() -> None:
        await engine.current_transaction.get().connection.execute(BACKWARDS)

    manager.add_raw(run)
    manager.add_raw_backwards(run_backwards)
    return manager
