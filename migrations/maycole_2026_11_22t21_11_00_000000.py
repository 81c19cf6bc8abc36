"""A team always has an owner, and a membership knows whether its team is deleted: the database sees to it."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from domain.db import engine

ID = "2026-11-22T21:11:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "a team always has an owner"

FORWARDS = """
-- Asked at COMMIT of every team that was made, restored, or lost an owner: is the owner of record one of its owners? The
-- team's row is written, not just locked, so that of two who each take one owner away the second one waits for the first
-- and then sees it, and under REPEATABLE READ and above is refused.
CREATE FUNCTION require_an_owner() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    team text;
    owner text;
BEGIN
    IF TG_TABLE_NAME = 'teams' THEN team := NEW.id; ELSE team := OLD.team_id; END IF;
    UPDATE teams SET version = version WHERE id = team AND deleted_at IS NULL RETURNING owner_id INTO owner;
    IF owner IS NOT NULL AND NOT EXISTS (
        SELECT FROM team_members m WHERE m.team_id = team AND m.user_id = owner AND m.role = 'owner'
    ) THEN
        RAISE EXCEPTION 'the owner of record of % is none of its owners', team
            USING ERRCODE = 'check_violation', CONSTRAINT = 'teams_always_owned', TABLE = 'teams';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER teams_always_owned AFTER DELETE ON team_members DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (OLD.role = 'owner') EXECUTE FUNCTION require_an_owner();
CREATE CONSTRAINT TRIGGER teams_always_owned_changed AFTER UPDATE OF role, team_id, user_id ON team_members
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.role = 'owner' AND (OLD.role, OLD.team_id, OLD.user_id) IS DISTINCT FROM (NEW.role, NEW.team_id, NEW.user_id))
    EXECUTE FUNCTION require_an_owner();
CREATE CONSTRAINT TRIGGER teams_always_owned_made AFTER INSERT ON teams DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.deleted_at IS NULL) EXECUTE FUNCTION require_an_owner();
CREATE CONSTRAINT TRIGGER teams_always_owned_restored AFTER UPDATE OF owner_id, deleted_at ON teams
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (NEW.deleted_at IS NULL AND (OLD.owner_id, OLD.deleted_at) IS DISTINCT FROM (NEW.owner_id, NEW.deleted_at))
    EXECUTE FUNCTION require_an_owner();
CREATE FUNCTION refuse_emptying() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION '% is never emptied', TG_TABLE_NAME; END $$;
CREATE TRIGGER team_members_never_emptied BEFORE TRUNCATE ON team_members
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_emptying();

-- A change holds its caller's membership until it commits: so deleting a team has to wait for it, or it sees the deletion.
CREATE FUNCTION tell_members_of_deletion() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE team_members SET team_deleted_at = NEW.deleted_at WHERE team_id = NEW.id;
    RETURN NULL;
END $$;
CREATE TRIGGER teams_deletion_is_told AFTER UPDATE OF deleted_at ON teams
    FOR EACH ROW WHEN (OLD.deleted_at IS DISTINCT FROM NEW.deleted_at) EXECUTE FUNCTION tell_members_of_deletion();
UPDATE team_members m SET team_deleted_at = t.deleted_at FROM teams t WHERE t.id = m.team_id AND t.deleted_at IS NOT NULL;

CREATE INDEX teams_to_purge ON teams (deleted_at) WHERE deleted_at IS NOT NULL AND purged_at IS NULL;
ALTER TABLE teams ADD CONSTRAINT teams_purged_after_deleted CHECK (purged_at IS NULL OR deleted_at IS NOT NULL);
ALTER TABLE team_transfers ADD CONSTRAINT team_transfers_to_another CHECK (from_user_id <> to_user_id);
"""
BACKWARDS = """
DROP INDEX teams_to_purge;
ALTER TABLE teams DROP CONSTRAINT teams_purged_after_deleted;
DROP TRIGGER teams_always_owned ON team_members;
DROP TRIGGER teams_always_owned_changed ON team_members;
DROP TRIGGER teams_always_owned_made ON teams;
DROP TRIGGER teams_always_owned_restored ON teams;
DROP FUNCTION require_an_owner();
DROP TRIGGER team_members_never_emptied ON team_members;
DROP FUNCTION refuse_emptying();
DROP TRIGGER teams_deletion_is_told ON teams;
DROP FUNCTION tell_members_of_deletion();
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
