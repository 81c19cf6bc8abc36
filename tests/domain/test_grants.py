"""What the application may do in its own database, and what it may not, whatever its code says."""

import asyncpg
import pytest

from domain import db, grants
from domain.piccolo_app import APP_CONFIG

pytestmark = pytest.mark.usefixtures("url")

TABLES = sorted(table._meta.tablename for table in APP_CONFIG.table_classes)


async def test_the_application_owns_nothing() -> None:
    assert await db.fetchval("SELECT current_user") == db.ROLE
    for forbidden in (
        "CREATE TABLE taken (id int)",
        "ALTER TABLE users ADD COLUMN taken int",
        "DROP TABLE users",
        "ALTER TABLE audit_logs DISABLE TRIGGER ALL",
        "SET session_replication_role = replica",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await db.execute(forbidden)


@pytest.mark.parametrize("table", TABLES)
async def test_rows_of_what_is_append_only_can_only_be_added(table: str) -> None:
    may = {
        right: await db.fetchval("SELECT has_table_privilege($1, $2)", table, right)
        for right in ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE")
    }
    changes = table not in grants.APPEND_ONLY
    assert may == {"SELECT": True, "INSERT": True, "UPDATE": changes, "DELETE": changes, "TRUNCATE": False}


async def test_partitions_are_reached_through_their_table_alone() -> None:
    parts = await db.fetch(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE c.relkind = 'r'"
    )
    assert len(parts) > 4
    for part in parts:
        for right in ("SELECT", "INSERT", "UPDATE", "DELETE"):
            assert not await db.fetchval("SELECT has_table_privilege($1, $2)", part["relname"], right)


async def test_a_login_that_may_not_make_roles_is_told_what_to_do(outside: asyncpg.Connection) -> None:
    await outside.execute("CREATE ROLE somebody_else LOGIN")
    await outside.execute("SET SESSION AUTHORIZATION somebody_else")
    try:
        with pytest.raises(grants.NotGranted, match=r"GRANT maycole_app TO somebody_else"):
            await grants.apply(outside)
    finally:
        await outside.execute("RESET SESSION AUTHORIZATION; DROP ROLE somebody_else")
