"""A removal comes before the change that it forbids, or after it, and never in between."""

import asyncio

import asyncpg
import pytest

from app.config import Config
from domain import channels
from tests.factories import Api, item


@pytest.mark.parametrize("end", ["removed", "demoted"])
async def test_nothing_is_written_by_someone_after_the_trail_says_that_they_may_not(
    api: Api, config: Config, end: str
) -> None:
    ann, bob = await api.person("Ann"), await api.person("Bob")
    team = await api.team(ann, member=bob)
    beans = await item(ann, team)
    member = f"/teams/{team}/members/{bob.id}"
    blocker = await asyncpg.connect(config.database_url)
    try:
        # Bob's change has been allowed, and now waits for the channel's head, which somebody else holds.
        await blocker.execute("BEGIN")
        await blocker.execute(
            "UPDATE stream_heads SET top = top WHERE channel = $1", channels.inventory(team)
        )
        change = asyncio.create_task(
            bob.post(f"/inventory/{beans['id']}/adjust", {"delta": -1, "reason": "sold"})
        )
        await _until_one_waits(blocker)
        taking = ann.delete(member) if end == "removed" else ann.put(member, {"role": "viewer"})
        away = asyncio.create_task(taking)
        await _until_one_waits(blocker, how_many=2)
        await blocker.execute("ROLLBACK")
        assert (await change).status_code == 200
        assert (await away).status_code in (200, 204)
    finally:
        await blocker.close()

    acts = [row["action"] for row in (await ann.get(f"/audit-logs?teamId={team}")).json()["data"]][::-1]
    assert acts[-2:] == [
        "inventory.adjusted",
        f"teams.{'member_removed' if end == 'removed' else 'role_changed'}",
    ]
    late = await bob.post(f"/inventory/{beans['id']}/adjust", {"delta": -1, "reason": "sold"})
    assert late.status_code == (404 if end == "removed" else 403)


async def _until_one_waits(connection: asyncpg.Connection, *, how_many: int = 1) -> None:
    async with asyncio.timeout(10):
        while True:
            waiting = await connection.fetchval(
                """SELECT count(*) FROM pg_stat_activity
                   WHERE wait_event_type = 'Lock' AND datname = current_database()"""
            )
            if waiting >= how_many:
                return
            await asyncio.sleep(0.01)


async def test_who_is_in_a_team_may_change_while_its_things_do(api: Api, config: Config) -> None:
    ann = await api.person("Ann")
    team = await api.team(ann)
    holder = await asyncpg.connect(config.database_url)
    try:
        await holder.execute("BEGIN")
        await holder.execute("SELECT FROM teams WHERE id = $1 FOR NO KEY UPDATE", team)
        assert (await item(ann, team))["quantity"] == 10, "the lock of the team's members is not in the way"
    finally:
        await holder.close()
