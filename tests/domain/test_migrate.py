"""`maycole migrate`: two at once on a fresh database wait for each other, and a third changes nothing."""

import asyncio
import os
import secrets
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from app.config import Config
from app.migrate import LOCK_KEY

MAYCOLE = Path(sys.executable).with_name("maycole")
MIGRATIONS = Path(__file__).parent.parent.parent / "migrations"


@pytest.fixture
async def fresh(outside: asyncpg.Connection, config: Config) -> AsyncIterator[str]:
    """The URL of a database with nothing in it."""
    name = f"fresh_{secrets.token_hex(6)}"
    await outside.execute(f"CREATE DATABASE {name}")
    assert config.database_url is not None
    try:
        yield config.database_url.replace("@/maycole?", f"@/{name}?")
    finally:
        await outside.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def migrating(url: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        MAYCOLE,
        "migrate",
        env={**os.environ, "DATABASE_URL": url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def schema(url: str) -> tuple[list[str], list[str]]:
    """Which migrations are noted as done, and which relations there are."""
    connection = await asyncpg.connect(url)
    try:
        tables = await connection.fetch(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        )
        names = sorted(row["relname"] for row in tables)
        done = await connection.fetch("SELECT name FROM migration") if "migration" in names else []
        return sorted(row["name"] for row in done), names
    finally:
        await connection.close()


async def test_two_migrations_at_once_wait_for_each_other_and_a_third_changes_nothing(fresh: str) -> None:
    assert await schema(fresh) == ([], [])
    guard = await asyncpg.connect(fresh)
    await guard.execute("SELECT pg_advisory_lock($1)", LOCK_KEY)
    both = [await migrating(fresh), await migrating(fresh)]
    async with asyncio.timeout(60):
        # Both have arrived, and both wait for whoever is at it: this test.
        while (
            await guard.fetchval(
                """SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
            )
            < 2
        ):
            assert [one.returncode for one in both] == [None, None]
            await asyncio.sleep(0.02)
    assert await schema(fresh) == ([], []), "nothing is done while another one is at it"
    await guard.close()

    said = [(await one.communicate())[0].decode() for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    done, tables = await schema(fresh)
    assert len(done) == len(list(MIGRATIONS.glob("maycole_*.py")))
    assert {"users", "stream_heads", "audit_logs"} <= set(tables)

    third = await migrating(fresh)
    assert ((await third.communicate())[0].decode(), third.returncode) == (said[0], 0)
    assert await schema(fresh) == (done, tables)


async def test_a_migration_that_cannot_reach_the_database_says_so_and_fails(fresh: str) -> None:
    nowhere = fresh.replace("@/fresh_", "@/absent_")
    assert nowhere != fresh
    process = await migrating(nowhere)
    said = (await process.communicate())[0].decode()
    assert process.returncode == 1
    assert "does not exist" in said
    assert "Traceback" not in said
