"""Migrations in SQL: for what Piccolo's own have no words for (docs/decisions/0002)."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from domain.db import engine


def sql_migration(migration_id: str, description: str, *, forwards: str, backwards: str) -> MigrationManager:
    """What a migration's `forwards()` returns: these statements, in the transaction of the migration."""
    manager = MigrationManager(migration_id=migration_id, app_name="maycole", description=description)

    async def run() -> None:
        await _execute(forwards)

    async def run_backwards() -> None:
        await _execute(backwards)

    manager.add_raw(run)
    manager.add_raw_backwards(run_backwards)
    return manager


async def _execute(statements: str) -> None:
    # Past Piccolo's raw(), which takes one statement only.
    transaction = engine.current_transaction.get()
    assert transaction is not None, "Piccolo runs a migration in a transaction"
    await transaction.connection.execute(statements)
