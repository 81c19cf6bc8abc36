"""Sealing: the rows of a team's trail go under signed roots, in order, each once; proofs lead to them."""

import asyncio

import asyncpg
import pytest
from pymerkle import InmemoryTree

from domain import crypto, db, streams
from domain.audit_logs import leaves, merkle, proofs, seals, signing, tree, waiting
from domain.audit_logs.apart import Failed
from domain.errors import Conflict, NotFound
from domain.streams import Head
from tests import proving
from tests.domain.people import somebody
from tests.domain.trails import length, lengthen, seal_in_steps, trail, verified

pytestmark = pytest.mark.usefixtures("url", "sealed_by_hand")


async def test_every_row_is_sealed_once_and_in_order() -> None:
    owner, team_id = await trail(5)
    await seal_in_steps(owner, team_id, 1, 250, 1, 600)
    found = await verified(team_id)
    assert found.bad is None
    assert (found.rows, found.sealed, found.checkpoints) == (857, 857, 5)
    assert await seals.seal(team_id) == 0  # nothing is new


async def test_a_long_trail_is_sealed_in_several_checkpoints(sealed_by_hand: pytest.MonkeyPatch) -> None:
    _, team_id = await trail(tree.SEAL_MAX + 10)
    sealed_by_hand.undo()
    await seals.seal_all()
    found = await verified(team_id)
    assert found.bad is None
    assert (found.sealed, found.checkpoints) == (tree.SEAL_MAX + 10, 2)


async def test_sealers_at_once_seal_each_row_once() -> None:
    owner, team_id = await trail(3)
    await asyncio.gather(*(seals.seal(team_id) for _ in range(5)), lengthen(owner, team_id, 20))
    await seals.seal(team_id)
    found = await verified(team_id)
    assert found.bad is None
    assert found.sealed == 23


async def test_the_root_is_that_of_an_independent_implementation() -> None:
    owner, team_id = await trail(4)
    await seal_in_steps(owner, team_id, 300, 7)
    theirs = InmemoryTree(algorithm="sha256")
    rows = await db.fetch(
        f"SELECT {leaves.COLUMNS} FROM audit_logs WHERE team_id = $1 ORDER BY seq",  # noqa: S608 - names of ours
        team_id,
    )
    for row in rows:
        theirs.append_entry(leaves.leaf(row))
    newest = await seals.newest(team_id)
    assert newest is not None
    assert newest.root == theirs.get_root()
    for row in rows[::50]:
        proof = await proofs.inclusion(owner, team_id, row["id"], size=None)
        said = theirs.prove_inclusion(row["seq"]).serialize()["path"]
        assert proof.path == [bytes.fromhex(found) for found in said[1:]]


async def test_a_proof_leads_from_a_row_to_every_later_checkpoint() -> None:
    owner, team_id = await trail(4)
    await seal_in_steps(owner, team_id, 300, 1, 900)
    for seq in (1, 4, 5, 256, 257, 304, 305, 1205):
        row_id = await db.fetchval("SELECT id FROM audit_logs WHERE team_id = $1 AND seq = $2", team_id, seq)
        for size in (304, 305, 1205):
            if size < seq:
                with pytest.raises(Conflict, match="No checkpoint is over this row"):
                    await proofs.inclusion(owner, team_id, row_id, size=size)
                continue
            proof = await proofs.inclusion(owner, team_id, row_id, size=size)
            checkpoint = proof.checkpoint
            assert proof.record.seq == seq
            assert checkpoint.to_seq == size
            assert signing.is_signed(checkpoint.public_key, checkpoint.signature, checkpoint.signed.encode())
            proving.check_inclusion(
                merkle.leaf_hash(proof.leaf.encode()), proof.index, size, proof.path, checkpoint.root
            )


async def test_a_checkpoint_is_shown_to_begin_a_later_one() -> None:
    owner, team_id = await trail(4)
    await seal_in_steps(owner, team_id, 300, 1, 900)
    for size in (4, 304, 305, 1205):
        shown = await proofs.consistency(owner, team_id, earlier=size, later=None)
        proving.check_consistency(
            shown.earlier.to_seq, shown.later.to_seq, shown.earlier.root, shown.later.root, shown.path
        )
    with pytest.raises(NotFound):
        await proofs.consistency(owner, team_id, earlier=7, later=None)
    with pytest.raises(NotFound):
        await proofs.consistency(owner, team_id, earlier=305, later=304)


async def test_a_proof_is_a_read_of_its_row_and_in_the_trail_once() -> None:
    owner, team_id = await trail(4)
    await seals.seal(team_id)
    found = await db.fetch("SELECT id FROM audit_logs WHERE team_id = $1 AND seq <= 2 ORDER BY seq", team_id)
    first, second = (row["id"] for row in found)
    for row_id in (first, second, first):
        await proofs.inclusion(owner, team_id, row_id, size=None)
    with pytest.raises(NotFound):
        await proofs.inclusion(owner, team_id, "aud_00000000000000000000000000", size=None)
    reads = await db.fetch(
        """SELECT user_id, metadata FROM audit_logs WHERE team_id = $1 AND action = 'audit_logs.read'
           ORDER BY seq""",
        team_id,
    )
    assert [(row["user_id"], row["metadata"]) for row in reads] == [
        (owner.user_id, {"filter": {"id": row_id}, "count": 1}) for row_id in (first, second)
    ]


async def test_strangers_are_told_nothing() -> None:
    owner, team_id = await trail(4)
    await seals.seal(team_id)
    stranger = await somebody("Eve")
    row_id = await db.fetchval("SELECT id FROM audit_logs WHERE team_id = $1 AND seq = 1", team_id)
    with pytest.raises(NotFound):
        await proofs.inclusion(stranger, team_id, row_id, size=None)
    with pytest.raises(NotFound):
        await proofs.consistency(stranger, team_id, earlier=4, later=None)
    with pytest.raises(NotFound):
        await seals.checkpoints(stranger, team_id, limit=20, cursor=None)
    assert stranger.personal_team_id is not None
    with pytest.raises(NotFound):  # a row of another team
        await proofs.inclusion(stranger, stranger.personal_team_id, row_id, size=None)
    assert (await seals.checkpoints(owner, team_id, limit=20, cursor=None)).items[0].to_seq == 4


async def test_a_checkpoint_is_news_and_leaves_no_row_of_its_own() -> None:
    _, team_id = await trail(4)
    await seals.seal(team_id)
    said = await streams.read(f"checkpoints:{team_id}", 0, limit=10)
    assert [entry.type for entry in said] == ["audit_logs.sealed"]
    assert await length(team_id) == 4
    assert await seals.seal(team_id) == 0


async def test_a_trail_with_a_hole_is_not_sealed_over_and_holds_up_no_other(
    outside: asyncpg.Connection, sealed_by_hand: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _, team_id = await trail(6)
    _, other_id = await trail(6)
    await tamper(outside, "DELETE FROM audit_logs WHERE team_id = $1 AND seq = 3", team_id)
    try:
        with pytest.raises(tree.Damaged):
            await seals.seal(team_id)
        sealed_by_hand.undo()
        with pytest.raises(Failed, match=team_id):
            await seals.seal_all()
        assert f"the audit trail of {team_id} has row 4 where 3 should be" in caplog.text
        assert (await verified(other_id)).sealed == 6
    finally:
        await forget(outside, team_id)


# Each is done to the teams' trails of 300 rows; what is kept of the first 256 is the node (8, 0).
DAMAGES = {
    "a node is gone": "DELETE FROM audit_nodes WHERE team_id = $1",
    "a node is cut short": "UPDATE audit_nodes SET hash = substr(hash, 1, 16) WHERE team_id = $1",
    "a node is another": "UPDATE audit_nodes SET hash = sha256(hash) WHERE team_id = $1",
    "leaves are gone": "DELETE FROM audit_seals WHERE team_id = $1 AND number = 1",
    "leaves are others": "UPDATE audit_seals SET leaves = sha256(leaves) WHERE team_id = $1 AND number = 2",
}


@pytest.mark.parametrize("sql", DAMAGES.values(), ids=DAMAGES)
async def test_what_is_kept_of_a_tree_is_damaged_and_that_holds_up_no_other(
    outside: asyncpg.Connection,
    sealed_by_hand: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    sql: str,
) -> None:
    owner, team_id = await trail(299)
    await seal_in_steps(owner, team_id, 1)
    await lengthen(owner, team_id, 1)
    _, other_id = await trail(6)
    await tamper(outside, sql, team_id)
    try:
        with pytest.raises(tree.Damaged, match=team_id):
            await seals.seal(team_id)
        sealed_by_hand.undo()
        with pytest.raises(Failed, match=team_id):
            await seals.seal_all()
        assert f"not sealed: {team_id}" in caplog.text
        assert (await verified(other_id)).sealed == 6
    finally:
        await forget(outside, team_id)


async def test_whatever_fails_for_one_team_holds_up_no_other_but_an_absent_database_is_said_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[str] = []
    errors: dict[str, Exception] = {"team_a": KeyError("a")}

    async def unsealed() -> list[str]:
        return ["team_a", "team_b", "team_c"]

    async def seal(team_id: str) -> int:
        tried.append(team_id)
        if team_id in errors:
            raise errors[team_id]
        return 0

    monkeypatch.setattr(seals, "_unsealed", unsealed)
    monkeypatch.setattr(seals, "seal", seal)
    with pytest.raises(Failed, match="1 trails were not sealed: team_a"):
        await seals.seal_all()
    assert tried == ["team_a", "team_b", "team_c"]
    errors["team_b"] = ConnectionResetError()
    with pytest.raises(ConnectionResetError):
        await seals.seal_all()
    assert tried[3:] == ["team_a", "team_b"]


async def test_a_look_is_at_trails_with_new_rows_and_at_what_was_left_and_a_round_at_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, old_id = await trail(5)
    _, young_id = await trail(5)
    monkeypatch.setattr(waiting, "PAGE", 3)
    looks = waiting.Waiting()
    first = await looks.teams()
    assert {old_id, young_id} <= set(first), "the first look is at all"
    assert len(first) == len(set(first))

    recent: list[Head] = [Head(channel=f"audit:{young_id}", epoch="", offset=5)]

    async def recent_heads(seconds: float) -> list[Head]:
        return [*recent, Head(channel="items:x", epoch="", offset=1)]

    monkeypatch.setattr(streams, "recent_heads", recent_heads)
    assert {old_id, young_id} <= set(await looks.teams()), "nobody has said that they were done"
    for team_id in first:
        looks.done(team_id)
    assert await looks.teams() == [young_id]
    await seals.seal(young_id)
    assert await looks.teams() == [], "it is sealed"
    recent.clear()
    monkeypatch.setattr(waiting, "ROUND_EVERY_S", 0)
    found = await looks.teams()
    assert old_id in found
    assert young_id not in found
    await seals.seal(old_id)


@pytest.mark.parametrize("table", ["audit_logs", "audit_seals", "audit_nodes"])
async def test_what_is_written_once_is_never_changed(outside: asyncpg.Connection, table: str) -> None:
    _, team_id = await trail(300)
    await seals.seal(team_id)
    for statement in (
        f"UPDATE {table} SET team_id = team_id WHERE team_id = $1",  # noqa: S608 - a name of ours
        f"DELETE FROM {table} WHERE team_id = $1",  # noqa: S608 - as above
    ):
        with pytest.raises(asyncpg.RaiseError, match="append only"):
            await outside.execute(statement, team_id)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await db.execute(statement, team_id)
    with pytest.raises(asyncpg.RaiseError, match="append only"):
        await outside.execute(f"TRUNCATE {table}")


async def test_the_signing_key_opens_with_our_key_alone(outside: asyncpg.Connection) -> None:
    async with db.transaction():
        key = await signing.current()
    row = await outside.fetchrow("SELECT * FROM audit_keys WHERE id = $1", key.id)
    assert row is not None
    assert key.private.private_bytes_raw().hex() not in str(dict(row))
    with pytest.raises(crypto.Unopenable):
        signing.opened({**row, "public": bytes(32)})
    with pytest.raises(crypto.Unopenable):
        signing.opened({**row, "id": "akey_another"})


async def tamper(connection: asyncpg.Connection, sql: str, *args: object) -> None:
    """What a superuser can do, and nobody else: past the triggers."""
    await connection.execute("SET session_replication_role = replica")
    try:
        await connection.execute(sql, *args)
    finally:
        await connection.execute("SET session_replication_role = origin")


async def forget(outside: asyncpg.Connection, team_id: str) -> None:
    """Nothing is left that other tests would stumble over."""
    for table in ("audit_logs", "audit_seals", "audit_nodes"):
        await tamper(outside, f"DELETE FROM {table} WHERE team_id = $1", team_id)  # noqa: S608 - a name of ours
    await tamper(outside, "DELETE FROM stream_heads WHERE channel = $1", f"audit:{team_id}")
