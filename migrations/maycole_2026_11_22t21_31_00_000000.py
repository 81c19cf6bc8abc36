"""What Piccolo cannot say of roles: a member's role is built in, or one of their team's own.

The generated column holds the role where it is the team's own, so that a plain foreign key does the rest: it
also keeps a role that is given in one transaction from being removed in another. (Piccolo sees no column
that it does not write.)
"""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from domain.db import engine

ID = "2026-11-22T21:31:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "roles: built in, or of the member's team"

FORWARDS = """
ALTER TABLE team_roles
    ADD CONSTRAINT team_roles_name CHECK (
        name ~ '^[a-z][a-z0-9-]{1,39}$' AND name NOT IN ('owner', 'admin', 'member', 'viewer')),
    ADD CONSTRAINT team_roles_permissions CHECK ('team:read' = ANY (permissions));
ALTER TABLE team_members
    ADD COLUMN own_role text GENERATED ALWAYS AS (
        CASE WHEN role NOT IN ('owner', 'admin', 'member', 'viewer') THEN role END) STORED,
    ADD CONSTRAINT team_members_own_role FOREIGN KEY (team_id, own_role)
        REFERENCES team_roles (team_id, name) ON DELETE RESTRICT ON UPDATE RESTRICT;
CREATE INDEX team_members_by_own_role ON team_members (team_id, own_role) WHERE own_role IS NOT NULL;
"""
BACKWARDS = """
ALTER TABLE team_members DROP COLUMN own_role;
ALTER TABLE team_roles DROP CONSTRAINT team_roles_name, DROP CONSTRAINT team_roles_permissions;
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
