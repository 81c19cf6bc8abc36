"""What Piccolo cannot say of invitations: an address in any case, one pending for each team and address."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from domain.db import engine

ID = "2026-11-22T21:21:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "team invites: one pending for each team and address"

FORWARDS = """
ALTER TABLE team_invites ALTER COLUMN email TYPE citext,
    ADD CONSTRAINT team_invites_email_length CHECK (length(email::text) BETWEEN 3 AND 254);
CREATE UNIQUE INDEX team_invites_pending_once ON team_invites (team_id, email) WHERE status = 'pending';
CREATE INDEX team_invites_by_team ON team_invites (team_id, id);
CREATE INDEX team_invites_ending ON team_invites (expires_at) WHERE status = 'pending';
"""
# Going back, the migration before this one drops the table, and all this with it.
BACKWARDS = """
DROP INDEX team_invites_ending;
DROP INDEX team_invites_by_team;
DROP INDEX team_invites_pending_once;
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
