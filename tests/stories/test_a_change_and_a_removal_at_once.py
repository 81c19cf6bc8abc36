"""A removal comes before the change that it forbids, or after it, and never in between."""

import asyncio
from functools import partial

import asyncpg
import pytest

from app.config import Config
from domain import channels
from tests.factories import Api, item

# By a transaction, and by a statement that several share (domain/group_commit.py).
CHANGES = {
    "adjusted": lambda bob, team, item_id: bob.post(
        f"/inventory/{item_id}/adjust", {"delta": -1, "reason": "sold"}
    ),
    "created": lambda bob, team, item_id: bob.post(
        "/inventory", {"name": "Tea", "quantity": 1, "teamId": team}
    ),
}


@pytest.mark.parametrize("change_by", CHANGES)
@pytest.mark.parametrize("end", ["removed", "demoted", "deleted"])
async def test_nothing_is_written_by_someone_after_the_trail_says_that_they_may_not(
    api: Api, config: Config, end: str, change_by: str
) -> None:
    ann, bob = await api.person("Ann"), await api.person("Bob")
    team = await api.team(ann, member=bob)
    beans = await item(ann, team)
    act = partial(CHANGES[change_by], bob, team, beans["id"])
    member = f"/teams/{team}/members/{bob.id}"
    blocker = await asyncpg.connect(config.database_url)
    try:
        # Bob's change has been allowed, and now waits for the channel's head, which somebody else holds.
        await blocker.execute("BEGIN")
        await blocker.execute(
            "UPDATE stream_heads SET top = top WHERE channel = $1", channels.inventory(team)
        )
        change = asyncio.create_task(act())
        await _until_one_waits(blocker)
        taking = {
            "removed": lambda: ann.delete(member),
            "demoted": lambda: ann.put(member, {"role": "viewer"}),
            "deleted": lambda: ann.delete(f"/teams/{team}"),
        }
        away = asyncio.create_task(taking[end]())
        await _until_one_waits(blocker, how_many=2)
        await blocker.execute("ROLLBACK")
        assert (await change).status_code in (200, 201)
        assert (await away).status_code in (200, 204)
    finally:
        await blocker.close()

    late = await act()
    assert late.status_code == (403 if end == "demoted" else 404)
    if end == "deleted":
        assert (await ann.post(f"/teams/{team}/restore")).status_code == 200
    acts = [row["action"] for row in (await ann.get(f"/audit-logs?teamId={team}")).json()["data"]][::-1]
    ended = {"removed": "member_removed", "demoted": "role_changed", "deleted": "deleted"}[end]
    begin = acts.index(f"teams.{ended}") - 1
    assert acts[begin : begin + 2] == [f"inventory.{change_by}", f"teams.{ended}"]
    assert f"inventory.{change_by}" not in acts[begin + 1 :]


@pytest.mark.parametrize("change_by", CHANGES)
async def test_a_change_that_waits_for_the_deletion_of_its_team_is_refused(
    api: Api, config: Config, change_by: str
) -> None:
    ann, bob = await api.person("Ann"), await api.person("Bob")
    team = await api.team(ann, member=bob)
    beans = await item(ann, team)
    blocker = await asyncpg.connect(config.database_url)
    try:
        # The team is deleted, but for its commit, which waits for the head of its own channel.
        await blocker.execute("BEGIN")
        await blocker.execute("UPDATE stream_heads SET top = top WHERE channel = $1", channels.audit(team))
        deleting = asyncio.create_task(ann.delete(f"/teams/{team}"))
        await _until_one_waits(blocker)
        change = asyncio.create_task(CHANGES[change_by](bob, team, beans["id"]))
        await _until_one_waits(blocker, how_many=2)
        await blocker.execute("ROLLBACK")
        assert (await deleting).status_code == 204
        assert (await change).status_code == 404
    finally:
        await blocker.close()


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
