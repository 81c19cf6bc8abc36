"""`maycole migrate`: bring the database to this version's schema.

Two at once are harmless, one waits for the other. Piccolo notes a migration as done after its transaction, so
two runners side by side would trip over each other; the advisory lock, on a connection of its own, is held
for the whole of it.
"""

import contextlib
import io

import asyncpg
from piccolo.apps.migrations.commands.forwards import run_forwards

from app.failed import CommandFailed
from domain import db, grants, streams
from domain.audit_logs import service as audit_logs

LOCK_KEY = 0x4D617963  # "Mayc"
WAIT_FOR_OTHER_S = 120


class MigrationFailed(CommandFailed):
    """What Piccolo said, or what an administrator has to do first."""


async def migrate(url: str) -> None:
    """Run what has not run yet and make the coming partitions. Raises MigrationFailed."""
    guard = await asyncpg.connect(url, timeout=db.CONNECT_WITHIN_S, command_timeout=WAIT_FOR_OTHER_S)
    try:
        await guard.execute("SELECT pg_advisory_lock($1)", LOCK_KEY)
        await db.open_pool(url, size=2, bounded=False)
        try:
            await _forwards()
            try:
                await grants.apply(guard)
            except grants.NotGranted as refused:
                raise MigrationFailed(str(refused)) from refused
            await streams.roll_partitions()
            await audit_logs.roll_partitions()
        finally:
            await db.close_pool()
    finally:
        await guard.close()


async def _forwards() -> None:
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            result = await run_forwards("maycole")
    except SystemExit as failed:
        raise MigrationFailed(said.getvalue()) from failed
    if not result.success:
        raise MigrationFailed(f"{said.getvalue()}{result.message or ''}")
