"""An answer has a status and what was said, a claim neither; and a key is a key."""


from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from domain.db import engine

ID = "2026-11-23T00:11:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "idempotency keys: what a row may be"

FORWARDS = """
ALTER TABLE idempotency_keys
    ADD CONSTRAINT idempotency_keys_answered CHECK ((status IS NULL) = (response IS NULL)),
    ADD CONSTRAINT idempotency_keys_status CHECK (status BETWEEN 200 AND 499),
    ADD CONSTRAINT idempotency_keys_key CHECK (key ~ '^[ -~]{1,255}$');
"""
BACKWARDS = """
ALTER TABLE idempotency_keys
    DROP CONSTRAINT idempotency_keys_answered,
    DROP CONSTRAINT idempotency_keys_status,
    DROP CONSTRAINT idempotency_keys_key;
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
