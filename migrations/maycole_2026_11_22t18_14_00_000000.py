"""What Piccolo cannot say of identity: every account has a profile; what is looked up or swept has its index."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from domain.db import engine

ID = "2026-11-22T18:14:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "identity: profiles, indexes"

FORWARDS = """
INSERT INTO user_profiles (user_id, bio, preferences, version, created_at, updated_at)
    SELECT id, '', '{}', 1, created_at, created_at FROM users;
ALTER TABLE user_profiles ADD CONSTRAINT user_profiles_bio_length CHECK (length(bio) <= 2000);
ALTER TABLE one_time_tokens ALTER COLUMN email TYPE citext;
CREATE INDEX one_time_tokens_ending ON one_time_tokens (expires_at);
CREATE INDEX user_sessions_ending ON user_sessions (expires_at) WHERE revoked_at IS NULL;
CREATE INDEX users_words ON users USING gin (name gin_trgm_ops, (email::text) gin_trgm_ops);
"""
BACKWARDS = """
DROP INDEX users_words;
DROP INDEX user_sessions_ending;
DELETE FROM user_profiles;
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
