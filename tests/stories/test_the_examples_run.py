"""The clients in docs/examples do what docs/realtime.md says of them, against a real server."""

import asyncio
import contextlib
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from channels.connection import Connection
from channels.live import Live
from domain import channels, db, streams
from domain.auth import tokens
from tests.architecture import ROOT
from tests.factories import Api, Person, item
from tests.processes import Reader

EXAMPLES = ROOT / "docs" / "examples"
WITHIN_S = 30


@pytest.fixture(params=["listen.py", "listen.mjs"])
def program(request: pytest.FixtureRequest) -> list[str]:
    """A command that runs one of the examples."""
    if request.param == "listen.py":
        return [sys.executable, str(EXAMPLES / request.param)]
    place: Path = request.getfixturevalue("node")
    # Node looks for packages beside the program.
    return ["node", shutil.copy(EXAMPLES / request.param, place)]


@contextlib.asynccontextmanager
async def screen(program: list[str], url: str, person: Person, team: str) -> AsyncIterator[Reader]:
    process = await asyncio.create_subprocess_exec(
        *program, url, person.email, person.password, team, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield Reader(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def connection_of(live: Live, person: Person) -> Connection:
    claims = {one: one.standing.claims for one in live.connections}
    [found] = [one for one, said in claims.items() if said is not None and said.sub == person.id]
    return found


async def forget(live: Live, channel: str) -> None:
    """The channel's stream begins anew, so what was before cannot be told any more."""
    async with db.transaction():
        await db.execute("UPDATE stream_heads SET epoch = 'another' WHERE channel = $1", channel)
    head = await streams.open_head(channel)
    live.relay.hub.restart(channel, head.epoch, head.offset)


async def test_it_follows_recovers_and_looks_again(
    program: list[str], api: Api, url: str, live: Live
) -> None:
    ann, bob = await api.person("Ann"), await api.person("Bob")
    team = await api.team(ann, viewer=bob)
    beans = await item(ann, team)
    adjust = f"/inventory/{beans['id']}/adjust"
    async with screen(program, url, bob, team) as shown:
        await shown.until("^looked: 1 items at 1$")
        await shown.until(f"^following inventory:{team}$")
        await ann.post(adjust, {"delta": -3, "reason": "sold"})
        await shown.until("^   2  inventory.adjusted  Coffee beans: 7 piece$")

        connection_of(live, bob).hang_up(3001)
        await ann.post(adjust, {"delta": 1, "reason": "delivered"})
        await shown.until("^connecting: 3001 shutdown$")
        await shown.until("^   3  inventory.adjusted  Coffee beans: 8 piece$")
        assert sum(line.startswith("looked") for line in shown.lines) == 1, "what was missed was recovered"

        await forget(live, channels.inventory(team))
        await shown.until("^looked: 1 items at 3$")
        await ann.delete(f"/inventory/{beans['id']}")
        await shown.until("^   4  inventory.deleted  Coffee beans: 8 piece$")

        await ann.delete(f"/teams/{team}/members/{bob.id}")
        await shown.until("^not following any more: 2000 server unsubscribe$")


async def test_it_renews_its_token_in_time_and_ends_with_its_session(
    program: list[str], api: Api, url: str, live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await api.person("Ann")
    monkeypatch.setattr(tokens, "ACCESS_LASTS_S", 3)
    async with screen(program, url, ann, ann.personal_team_id) as shown:
        await shown.until("^following")
        connection = connection_of(live, ann)
        assert connection.standing.claims is not None
        first = connection.standing.claims
        monkeypatch.setattr(tokens, "ACCESS_LASTS_S", 600)
        async with asyncio.timeout(WITHIN_S):
            while connection.standing.claims.exp < first.exp + 300:
                await asyncio.sleep(0.05)
        assert not connection.gone, "and it is the same connection"
        await item(ann)
        await shown.until("^   1  inventory.created  Coffee beans: 10 piece$")

        async with db.transaction():
            await db.execute("UPDATE user_sessions SET revoked_at = now() WHERE user_id = $1", ann.id)
        connection.hang_up(3001)
        await shown.until("^over: 3500 invalid token$")
