"""`maycole audit verify` on trails that are long: nothing of it is cut off, and no trail is left out."""

import asyncio
import sys

import asyncpg
import pytest

from app.config import Config
from domain.audit_logs import seals, verification
from tests.domain.trails import trail

# The bounds of a request, made short; and a look at the trails that takes longer than they let it.
SLOW = """
import sys
from app import audit_cli
from app.config import read
from domain import db
from domain.audit_logs import verification

db.COMMAND_WITHIN_S = 0.1
db.SERVER_SETTINGS["statement_timeout"] = "100ms"

async def teams():
    return await db.fetch("SELECT pg_sleep(0.3) WHERE false OR pg_sleep(0.3) IS NULL")

verification.teams = teams
audit_cli.secrets.install = lambda config: None
audit_cli.verify(read({"DATABASE_URL": sys.argv[1]}), [], None, say=print)
"""


async def test_a_statement_may_take_longer_than_that_of_a_request(config: Config) -> None:
    assert config.database_url is not None
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SLOW, config.database_url, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    assert process.returncode == 0
    assert said.startswith(b"0 trails are what was signed")


@pytest.mark.usefixtures("url", "sealed_by_hand")
async def test_each_trail_is_looked_for_once_sealed_or_not(config: Config) -> None:
    _, sealed_id = await trail(3)
    _, young_id = await trail(3)
    await seals.seal(sealed_id)
    found = await verification.teams()
    assert len(found) == len(set(found))
    assert {sealed_id, young_id} <= set(found)
    outside = await asyncpg.connect(config.database_url)
    try:
        rows = await outside.fetch("SELECT team_id FROM audit_logs UNION SELECT team_id FROM audit_seals")
    finally:
        await outside.close()
    assert {row["team_id"] for row in rows} <= set(found)
