"""What the application may do in its own database: it acts as a role that owns nothing.

Whoever connects (DATABASE_URL) owns the tables; each connection of the pool then acts as ROLE, which reads
and writes rows, but cannot alter a table, and of what is append only can neither update nor delete a row.
The triggers that refuse it stay: they hold for the owner, too. What needs the owner (partitions) says so:
db.maintenance().

`maycole migrate` calls `apply`: what is granted is what stands here, and nothing that was granted before.
"""

from typing import Final

import asyncpg

from domain.db import ROLE
from domain.piccolo_app import APP_CONFIG

APPEND_ONLY: Final = (
    "audit_logs", "audit_seals", "audit_nodes", "audit_keys", "stock_movements", "stream_entries"
)  # fmt: skip
_NOT_OURS: Final = ("pgqueuer", "pgqueuer_log", "pgqueuer_schedules", "pgqueuer_statistics")
_MAKE: Final = f"""
    DO $$ BEGIN
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{ROLE}') THEN CREATE ROLE {ROLE} NOLOGIN; END IF;
        IF NOT pg_has_role(session_user, '{ROLE}', CASE
            WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END) THEN
            EXECUTE 'GRANT {ROLE} TO ' || quote_ident(session_user);
        END IF;
    END $$
"""


class NotGranted(Exception):
    """What a database administrator has to do first."""


async def apply(connection: asyncpg.Connection) -> None:
    """Make the role and give it what it needs. Raises NotGranted where this login may not make roles."""
    try:
        await connection.execute(_MAKE)
    except asyncpg.InsufficientPrivilegeError as refused:
        login = await connection.fetchval("SELECT quote_ident(session_user)")
        raise NotGranted(
            f"this login may not make roles: have an administrator run "
            f"CREATE ROLE {ROLE} NOLOGIN; GRANT {ROLE} TO {login};"
        ) from refused
    tables = [*(table._meta.tablename for table in APP_CONFIG.table_classes), *_NOT_OURS]
    rows = [name for name in tables if name not in APPEND_ONLY]
    async with connection.transaction():
        await connection.execute(
            f"""REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {ROLE};
                GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {ROLE};
                GRANT SELECT ON migration TO {ROLE};
                GRANT SELECT, INSERT ON {", ".join(APPEND_ONLY)} TO {ROLE};
                GRANT UPDATE (secret) ON audit_keys TO {ROLE};
                GRANT SELECT, INSERT, UPDATE, DELETE ON {", ".join(rows)} TO {ROLE}"""
        )
