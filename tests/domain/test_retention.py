"""Retention: months that have had their time go, what is under a hold stays, and the tree stays whole."""

import asyncio
from contextvars import Context
from datetime import datetime, timedelta

import asyncpg
import pytest

from domain import db, partitions
from domain.actor import Actor
from domain.audit_logs import merkle, proofs, retention, seals
from domain.audit_logs.apart import Failed
from domain.clock import now
from domain.errors import Invalid, NotFound
from domain.partitions import Partition
from tests import proving
from tests.domain.test_seals import forget, tamper
from tests.domain.trails import length, lengthen, seal_in_steps, trail, verified

pytestmark = pytest.mark.usefixtures("url", "sealed_by_hand")


@pytest.fixture
async def old(monkeypatch: pytest.MonkeyPatch, outside: asyncpg.Connection) -> datetime:
    """A time so long ago that rows of then may go, with a partition for it; each test has its own month."""
    global _months
    _months += 1
    at = (now() - timedelta(days=500 + 31 * _months)).replace(day=10)
    begin = at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    end = (begin + timedelta(days=32)).replace(day=1)
    await outside.execute(
        f"""CREATE TABLE audit_logs_{begin:%Y%m%d} PARTITION OF audit_logs
            FOR VALUES FROM ('{begin.isoformat()}') TO ('{end.isoformat()}')"""
    )
    monkeypatch.setattr("domain.record.now", lambda: at)
    return at


_months = 0


async def recent(monkeypatch: pytest.MonkeyPatch, owner: Actor, team_id: str, rows: int) -> None:
    monkeypatch.setattr("domain.record.now", now)
    await lengthen(owner, team_id, rows)


async def partition_names() -> set[str]:
    return {month.name for month in await partitions.ended("audit_logs", before=now())}


async def test_a_month_that_has_had_its_time_goes_and_what_is_left_can_be_proved(
    old: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, team_id = await trail(20)
    await seal_in_steps(owner, team_id, 300)
    await recent(monkeypatch, owner, team_id, 10)
    assert await length(team_id) == 330
    await retention.expire()
    assert await length(team_id) == 10
    assert f"audit_logs_{old:%Y%m}01" not in await partition_names()
    await seals.seal(team_id)
    found = await verified(team_id)
    assert found.bad is None
    assert (found.rows, found.sealed) == (10, 330)
    row_id = await db.fetchval("SELECT id FROM audit_logs WHERE team_id = $1 AND seq = 325", team_id)
    proof = await proofs.inclusion(owner, team_id, row_id, size=None)
    proving.check_inclusion(
        merkle.leaf_hash(proof.leaf.encode()), 324, 330, proof.path, proof.checkpoint.root
    )
    shown = await proofs.consistency(owner, team_id, earlier=20, later=None)
    proving.check_consistency(20, 330, shown.earlier.root, shown.later.root, shown.path)


async def test_rows_are_not_let_go_before_they_are_sealed(
    old: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, team_id = await trail(20)
    await recent(monkeypatch, owner, team_id, 1)
    await retention.expire()
    found = await verified(team_id)
    assert found.bad is None
    assert (found.rows, found.sealed) == (1, 21)


async def test_what_is_under_a_hold_stays_and_others_of_that_month_go(
    old: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, team_id = await trail(20)
    _, other_id = await trail(20)
    monkeypatch.setattr("domain.record.now", now)
    await retention.hold(Actor(), team_id)
    await retention.expire()
    assert await length(team_id) == 21  # the hold itself is a row
    assert await length(other_id) == 0
    assert f"audit_logs_{old:%Y%m}01" in await partition_names()
    for one in (team_id, other_id):
        await seals.seal(one)
        assert (await verified(one)).bad is None
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await db.execute("DELETE FROM audit_logs WHERE team_id = $1", team_id)
    await retention.release(Actor(), team_id)
    await retention.expire()
    assert await length(team_id) == 2


async def test_a_team_whose_trail_is_damaged_keeps_its_rows_and_others_of_that_month_go(
    old: datetime, outside: asyncpg.Connection
) -> None:
    owner, team_id = await trail(299)
    await seal_in_steps(owner, team_id)
    await lengthen(owner, team_id, 1)
    _, other_id = await trail(20)
    await tamper(outside, "DELETE FROM audit_nodes WHERE team_id = $1", team_id)
    try:
        with pytest.raises(Failed, match=f"1 trails were not let go: {team_id}"):
            await retention.expire()
        assert await length(team_id) == 300
        assert await length(other_id) == 0
    finally:
        await forget(outside, team_id)


async def test_writers_are_not_blocked_by_a_copy_and_only_taking_its_place_is_tried_again(
    old: datetime, outside: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, team_id = await trail(20)
    _, held_id = await trail(20)
    await retention.hold(Actor(), held_id)
    monkeypatch.setattr(retention, "SWAP_AGAIN_AFTER_S", 0)
    copied: list[str] = []
    copy, swap = partitions.copy, partitions.swap

    async def counted(month: Partition, *args: object) -> int:
        copied.append(month.name)
        made = await copy(month, *args)  # type: ignore[arg-type]  # as they came
        assert await written() == "INSERT 0 1"
        return made

    async def written() -> str:
        """A row of another month, of whoever waits for nobody; it is not kept."""
        await outside.execute("BEGIN; SET LOCAL lock_timeout = '100ms'")
        try:
            tag: str = await outside.execute(
                """INSERT INTO audit_logs (id, seq, team_id, action, resource_type, resource, "timestamp",
                                           metadata, changes, outcome)
                   VALUES ('aud_x', 1, 'team_x', 'a.b', 'a', 'a', now(), '{}', '{}', 'success')"""
            )
        finally:
            await outside.execute("ROLLBACK")
        return tag

    async def taken_once(month: Partition, made: int) -> None:
        monkeypatch.setattr(partitions, "swap", swap)
        raise asyncpg.LockNotAvailableError("others are at it")

    monkeypatch.setattr(partitions, "copy", counted)
    monkeypatch.setattr(partitions, "swap", taken_once)
    await retention.expire()
    assert copied == [f"audit_logs_{old:%Y%m}01"]
    assert await length(team_id) == 0
    assert await length(held_id) == 21


async def test_a_hold_that_comes_while_a_copy_is_made_holds(
    old: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, team_id = await trail(20)
    _, held_id = await trail(20)
    await retention.hold(Actor(), held_id)
    copy = partitions.copy

    async def held_meanwhile(month: Partition, *args: object) -> int:
        await asyncio.create_task(outside_of_it(), context=Context())
        return await copy(month, *args)  # type: ignore[arg-type]  # as they came

    async def outside_of_it() -> None:
        monkeypatch.setattr("domain.record.now", now)
        await retention.hold(Actor(), team_id)

    monkeypatch.setattr(partitions, "copy", held_meanwhile)
    await retention.expire()
    assert await length(team_id) == 21
    assert await db.fetchval("SELECT to_regclass($1)", f"audit_logs_{old:%Y%m}01_made") is None
    monkeypatch.setattr(partitions, "copy", copy)
    await retention.release(Actor(), team_id)
    await retention.expire()
    assert await length(team_id) == 2
    assert await length(held_id) == 21


async def test_a_team_that_keeps_its_rows_longer_keeps_them(
    old: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, team_id = await trail(20)
    monkeypatch.setattr("domain.record.now", now)
    await retention.keep(Actor(), team_id, 5_000)
    await retention.expire()
    assert await length(team_id) == 21
    await retention.keep(Actor(), team_id, 30)
    await retention.expire()
    assert await length(team_id) == 2


async def test_rows_that_went_without_a_checkpoint_that_says_so_are_missed(
    old: datetime, outside: asyncpg.Connection
) -> None:
    owner, team_id = await trail(20)
    await seal_in_steps(owner, team_id)
    await outside.execute(f"DROP TABLE audit_logs_{old:%Y%m}01")
    bad = (await verified(team_id)).bad
    assert bad is not None
    assert bad.seq == 1


async def test_only_so_many_days_can_be_chosen() -> None:
    _, team_id = await trail(2)
    for days in (0, 29, 36_501):
        with pytest.raises(Invalid):
            await retention.keep(Actor(), team_id, days)
    with pytest.raises(NotFound):
        await retention.keep(Actor(), "team_00000000000000000000000000", 100)
    assert (await retention.of(team_id)).keep_days == retention.KEEP_DAYS
    assert await length(team_id) == 2
