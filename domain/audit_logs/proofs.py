"""Proofs: that a row is under a checkpoint, and that a checkpoint's tree begins a later one's."""

from collections.abc import Sequence

from domain import db
from domain.actor import Actor
from domain.audit_logs import leaves, merkle, reading, seals, tree
from domain.audit_logs.merkle import Range
from domain.audit_logs.seals_model import Consistency, Proof, SignedCheckpoint
from domain.errors import Conflict, NotFound
from domain.teams import policy


async def inclusion(actor: Actor, team_id: str, row_id: str, *, size: int | None) -> Proof:
    """That this row is under the checkpoint of that size, or under the newest. It is a read of the row.

    Raises Conflict `not_sealed_yet` for a row that is younger than the checkpoint; NotFound.
    """
    await policy.require(actor, team_id, "audit:read")
    async with db.snapshot():
        row = await db.fetchrow(
            f"SELECT {leaves.COLUMNS} FROM audit_logs WHERE team_id = $1 AND id = $2",  # noqa: S608 - names of ours
            team_id,
            row_id,
        )
        if row is None:
            raise NotFound.of("audit row")
        under = await (seals.newest(team_id) if size is None else _checkpoint(team_id, size))
        if under is None or row["seq"] > under.to_seq:
            raise Conflict("No checkpoint is over this row yet; one comes in seconds.", code="not_sealed_yet")
        index = row["seq"] - 1
        path = await _hashes(team_id, merkle.inclusion(index, under.to_seq))
    await reading.row_was_read(actor, team_id, row_id)
    return Proof(
        record=leaves.record_of(row),
        leaf=leaves.leaf(row).decode(),
        index=index,
        path=path,
        checkpoint=under,
    )


async def consistency(actor: Actor, team_id: str, *, earlier: int, later: int | None) -> Consistency:
    """That nothing up to size `earlier` was altered since. Raises NotFound for a size without checkpoint."""
    await policy.require(actor, team_id, "audit:read")
    async with db.snapshot():
        old = await _checkpoint(team_id, earlier)
        new = await (seals.newest(team_id) if later is None else _checkpoint(team_id, later))
        assert new is not None, "there is one at least as large as the earlier one"
        if new.to_seq < old.to_seq:
            raise NotFound.of("later checkpoint")
        path = await _hashes(team_id, merkle.consistency(old.to_seq, new.to_seq))
    return Consistency(earlier=old, later=new, path=path)


async def _checkpoint(team_id: str, size: int) -> SignedCheckpoint:
    found = await seals.at_size(team_id, size)
    if found is None:
        raise NotFound.of("checkpoint")
    return found


async def _hashes(team_id: str, ranges: Sequence[Range]) -> list[bytes]:
    known = await tree.hashes(team_id, merkle.needed(ranges))
    return [merkle.range_hash(leaves_, known.__getitem__) for leaves_ in ranges]
