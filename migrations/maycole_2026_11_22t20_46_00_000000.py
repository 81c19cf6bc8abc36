"""What Piccolo cannot say of seals: keys of several columns; what is written once is never changed."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from domain.db import engine

ID = "2026-11-22T20:46:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "audit seals: keys, append only"

FORWARDS = """
CREATE INDEX audit_logs_by_id ON audit_logs (team_id, id);
ALTER TABLE audit_seals DROP CONSTRAINT audit_seals_pkey, ADD PRIMARY KEY (team_id, number),
    ADD CONSTRAINT audit_seals_rows CHECK (from_seq > 0 AND to_seq >= from_seq - 1 AND number > 0),
    ADD CONSTRAINT audit_seals_leaves CHECK (length(leaves) = (to_seq - from_seq + 1) * 32),
    ALTER COLUMN leaves SET STORAGE EXTERNAL;
CREATE INDEX audit_seals_by_row ON audit_seals (team_id, to_seq);
ALTER TABLE audit_nodes DROP CONSTRAINT audit_nodes_pkey, ADD PRIMARY KEY (team_id, level, index);
ALTER TABLE audit_policies ADD CONSTRAINT audit_policies_days CHECK (keep_days BETWEEN 30 AND 36500);
CREATE TRIGGER audit_seals_append_only BEFORE UPDATE OR DELETE ON audit_seals
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_seals_never_emptied BEFORE TRUNCATE ON audit_seals
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_nodes_append_only BEFORE UPDATE OR DELETE ON audit_nodes
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_nodes_never_emptied BEFORE TRUNCATE ON audit_nodes
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""
# Going back, the migration before this one drops the tables, and their triggers with them.
BACKWARDS = """
DROP INDEX audit_logs_by_id;
DROP INDEX audit_seals_by_row;
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
