"""What Piccolo cannot say: partitions, partial and text-search indexes, deferred keys, append-only rows.

The partitioned tables are made again here, so that Piccolo's own record of their columns stays true for `--auto`.
"""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from domain.db import engine

ID = "2026-11-22T11:53:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "partitions, indexes, constraints"

FORWARDS = """
CREATE EXTENSION IF NOT EXISTS citext;
CREATE EXTENSION IF NOT EXISTS pg_trgm;
CREATE EXTENSION IF NOT EXISTS btree_gin;

-- The log. Entries are read by channel and offset, swept by time, dropped by day.
DROP TABLE stream_entries;
CREATE TABLE stream_entries (
    channel text NOT NULL,
    "offset" bigint NOT NULL CHECK ("offset" > 0),
    id text NOT NULL,
    type text NOT NULL,
    data text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (channel, "offset", created_at)
) PARTITION BY RANGE (created_at);
CREATE INDEX stream_entries_created_at ON stream_entries USING brin (created_at) WITH (pages_per_range = 16, autosummarize = on);
-- A head is updated by every commit to its channel: room for the new row version on the same page keeps that cheap.
ALTER TABLE stream_heads SET (fillfactor = 50);
ALTER TABLE stream_heads ADD CONSTRAINT stream_heads_top_counts CHECK (top >= 0);

-- The audit trail: append only, for everyone who may not alter the table itself.
DROP TABLE audit_logs;
CREATE TABLE audit_logs (
    id text NOT NULL,
    seq bigint NOT NULL CHECK (seq > 0),
    team_id text NOT NULL,
    user_id text,
    action text NOT NULL,
    resource_type text NOT NULL,
    resource text NOT NULL,
    "timestamp" timestamptz NOT NULL,
    metadata jsonb NOT NULL,
    changes jsonb NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('success', 'denied', 'failure')),
    request_id text,
    session_id text,
    key_id text,
    ip text,
    user_agent text,
    tsv tsvector NOT NULL GENERATED ALWAYS AS (
        to_tsvector('simple', action || ' ' || replace(action, '.', ' ') || ' ' || resource || ' ' || coalesce(user_id, ''))
        || jsonb_to_tsvector('simple', changes, '["string", "numeric"]')
        || jsonb_to_tsvector('simple', metadata, '["string", "numeric"]')
    ) STORED,
    PRIMARY KEY (team_id, seq, "timestamp")
) PARTITION BY RANGE ("timestamp");
CREATE INDEX audit_logs_tsv ON audit_logs USING gin (tsv);
CREATE INDEX audit_logs_actor ON audit_logs (team_id, user_id, seq);
CREATE INDEX audit_logs_resource ON audit_logs (team_id, resource, seq);
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION '% is append only', TG_TABLE_NAME; END $$;
CREATE TRIGGER audit_logs_append_only BEFORE UPDATE OR DELETE ON audit_logs
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_logs_never_emptied BEFORE TRUNCATE ON audit_logs
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER stock_movements_append_only BEFORE UPDATE OR DELETE ON stock_movements
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER stock_movements_never_emptied BEFORE TRUNCATE ON stock_movements
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- People: addresses differ by more than case; an account and its personal team appear together.
ALTER TABLE users ALTER COLUMN email TYPE citext;
ALTER TABLE users ADD CONSTRAINT users_email_length CHECK (length(email) BETWEEN 3 AND 254);
ALTER TABLE users ADD CONSTRAINT users_name_length CHECK (length(name) BETWEEN 1 AND 100);
ALTER TABLE users ADD CONSTRAINT users_personal_team FOREIGN KEY (personal_team_id) REFERENCES teams (id)
    ON DELETE RESTRICT DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE teams ADD CONSTRAINT teams_name_length CHECK (length(name) BETWEEN 1 AND 100);

-- Inventory: what lists and look-ups walk.
CREATE UNIQUE INDEX inventory_sku ON inventory (team_id, sku) WHERE deleted_at IS NULL AND sku IS NOT NULL;
CREATE INDEX inventory_by_age ON inventory (team_id, id) WHERE deleted_at IS NULL;
CREATE INDEX inventory_by_name ON inventory (team_id, name, id) WHERE deleted_at IS NULL;
CREATE INDEX inventory_by_quantity ON inventory (team_id, quantity, id) WHERE deleted_at IS NULL;
CREATE INDEX inventory_words ON inventory USING gin (team_id, name gin_trgm_ops) WHERE deleted_at IS NULL;
CREATE INDEX inventory_sku_words ON inventory USING gin (team_id, sku gin_trgm_ops) WHERE deleted_at IS NULL;
CREATE INDEX stock_movements_of_item ON stock_movements (item_id, id);
ALTER TABLE inventory ADD CONSTRAINT inventory_name_length CHECK (length(name) BETWEEN 1 AND 200);
"""

# Going back, the migration before this one drops the tables, and their indexes and triggers with them.
BACKWARDS = """
ALTER TABLE users DROP CONSTRAINT users_personal_team;
DROP TRIGGER audit_logs_append_only ON audit_logs;
DROP TRIGGER stock_movements_append_only ON stock_movements;
DROP TRIGGER audit_logs_never_emptied ON audit_logs;
DROP TRIGGER stock_movements_never_emptied ON stock_movements;
DROP FUNCTION refuse_change();
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
