"""What reading an audit trail walks: an index for each filter, in the order of the trail; words within a team."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from domain.db import engine

ID = "2026-11-22T21:40:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "audit trail: indexes to read by"

FORWARDS = """
DROP INDEX audit_logs_tsv;
CREATE INDEX audit_logs_words ON audit_logs USING gin (team_id, tsv);
CREATE INDEX audit_logs_action ON audit_logs (team_id, action, seq);
CREATE INDEX audit_logs_kind ON audit_logs (team_id, resource_type, seq);
CREATE INDEX audit_logs_ip ON audit_logs (team_id, ip, seq);
-- Nearly all rows are of success, which is found by walking.
CREATE INDEX audit_logs_outcome ON audit_logs (team_id, outcome, seq) WHERE outcome <> 'success';
"""
BACKWARDS = """
DROP INDEX audit_logs_words, audit_logs_action, audit_logs_kind, audit_logs_ip, audit_logs_outcome;
CREATE INDEX audit_logs_tsv ON audit_logs USING gin (tsv);
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
