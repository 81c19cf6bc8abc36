"""`maycole audit`: whether audit trails are what was signed, and how long they are kept."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from app import secrets
from app.config import Config
from app.failed import CommandFailed
from app.jobs_cli import with_database
from domain import db
from domain.actor import Actor
from domain.audit_logs import retention, verification
from domain.audit_logs.seals_model import Checkpoint
from domain.audit_logs.verification import Verified
from domain.errors import DomainError

Say = Callable[[str], None]
VERIFIED_WITHIN_S: Final = 24 * 3600  # what a statement may take: trails may be long, and nobody waits for it


class NotIntact(CommandFailed):
    """Which trails are not what was signed, or what checkpoints cannot be read."""


class NotChanged(CommandFailed):
    """Why what is kept was left as it is."""


def verify(config: Config, teams: Sequence[str], checkpoints: Path | None, *, say: Say) -> None:
    """Go through the trails of these teams, or of all. Raises NotIntact, OSError, asyncpg.PostgresError."""
    assert config.database_url is not None, "it was needed"
    secrets.install(config)
    elsewhere = _by_team(read(checkpoints)) if checkpoints is not None else {}

    async def work() -> None:
        async with db.snapshot():
            known = await verification.teams()
            wanted = teams or sorted({*known, *elsewhere})
            found = [await verification.verify(team_id, elsewhere.get(team_id, ())) for team_id in wanted]
        for one in found:
            say(_line(one))
        if bad := [one.team_id for one in found if one.bad]:
            raise NotIntact(f"{len(bad)} of {len(found)} trails are not what was signed")
        against = sum(len(elsewhere.get(one.team_id, ())) for one in found)
        say(f"{len(found)} trails are what was signed; {against} checkpoints kept elsewhere agree")
        if not against:
            say(
                "without checkpoints kept elsewhere nobody can tell whether the whole database was put back "
                "to an earlier day, or signed again with the installation's own key: give --checkpoints"
            )

    asyncio.run(with_database(config.database_url, work, within_s=VERIFIED_WITHIN_S))


def keep(config: Config, team_id: str, days: int, *, say: Say) -> None:
    """Let a team's rows be kept so many days. Raises NotChanged, OSError, asyncpg.PostgresError."""

    async def work() -> None:
        after = await retention.keep(Actor(), team_id, days)
        say(f"{team_id}: audit rows are kept {after.keep_days} days")

    _change(config, work)


def hold(config: Config, team_id: str, *, held: bool, say: Say) -> None:
    """A legal hold on a team's trail, or its end. Raises NotChanged, OSError, asyncpg.PostgresError."""

    async def work() -> None:
        after = await (retention.hold if held else retention.release)(Actor(), team_id)
        say(f"{team_id}: " + (f"held since {after.held_since:%Y-%m-%d}" if after.held_since else "not held"))

    _change(config, work)


def _change(config: Config, work: Callable[[], Awaitable[None]]) -> None:
    assert config.database_url is not None, "it was needed"
    secrets.install(config)
    try:
        asyncio.run(with_database(config.database_url, work))
    except DomainError as refused:
        raise NotChanged(refused.detail) from refused


def read(file: Path) -> list[Checkpoint]:
    """Checkpoints as GET /api/audit-logs/checkpoints or the live channel gave them, one JSON text a line.

    Raises NotIntact for what is none.
    """
    found: list[Checkpoint] = []
    for number, line in enumerate(file.read_text().splitlines(), 1):
        if not line.strip():
            continue
        try:
            said: Any = msgspec.json.decode(line)
            data = said.get("data", said) if isinstance(said, dict) else said
            found += msgspec.convert(data if isinstance(data, list) else [data], list[Checkpoint])
        except msgspec.MsgspecError as error:
            raise NotIntact(f"{file}, line {number}: this is no checkpoint: {error}") from error
    return found


def _by_team(checkpoints: Sequence[Checkpoint]) -> dict[str, list[Checkpoint]]:
    by_team: dict[str, list[Checkpoint]] = defaultdict(list)
    for checkpoint in checkpoints:
        by_team[checkpoint.team_id].append(checkpoint)
    return by_team


def _line(one: Verified) -> str:
    counted = f"{one.rows} rows, {one.sealed} sealed by {one.checkpoints} checkpoints"
    if one.bad is None:
        return f"{one.team_id}: intact ({counted})"
    return f"{one.team_id}: BAD at row {one.bad.seq}: {one.bad.what} ({counted})"
