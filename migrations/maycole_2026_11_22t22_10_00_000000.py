"""A role of a team's own stays while somebody is invited to have it."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from domain.db import engine

ID = "2026-11-22T22:10:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "invitations: roles built in, or of the team"

FORWARDS = """
ALTER TABLE team_invites
    ADD COLUMN own_role text GENERATED ALWAYS AS (
        CASE WHEN status = 'pending' AND role NOT IN ('owner', 'admin', 'member', 'viewer') THEN role END) STORED,
    ADD CONSTRAINT team_invites_own_role FOREIGN KEY (team_id, own_role)
        REFERENCES team_roles (team_id, name) ON DELETE RESTRICT ON UPDATE RESTRICT;
"""
BACKWARDS = "ALTER TABLE team_invites DROP COLUMN own_role;"


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="maycole", description=DESCRIPTION)

    async def run() -> None:
        await engine.current_transaction.get().connection.execute(FORWARDS)

    async def run_backwards() -> None:
        await engine.current_transaction.get().connection.execute(BACKWARDS)

    manager.add_raw(run)
    manager.add_raw_backwards(run_backwards)
    return manager
