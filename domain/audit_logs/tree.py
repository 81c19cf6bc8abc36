"""The tree of a team's audit trail as it is kept: leaves' hashes in the seals, upper nodes beside them.

A seal holds the hashes of the leaves that it added. Of what is above them, the complete subtrees of TILE
leaves and more are kept (audit_nodes): a proof, or the next root, reads a few of them and one tile of leaves,
however long the trail is.
"""

from collections.abc import Iterable
from typing import Final

from domain import db
from domain.audit_logs.merkle import Subtree, node_hash
from domain.audit_logs.seals_model import HASH_BYTES

TILE_LEVEL: Final = 8
TILE: Final = 1 << TILE_LEVEL
SEAL_MAX: Final = 1024


class Damaged(Exception):
    """What is kept of a trail is none: rows, leaves or nodes are missing, or not those that were sealed."""


async def hashes(team_id: str, wanted: Iterable[Subtree]) -> dict[Subtree, bytes]:
    """The hashes of complete subtrees that are sealed. Raises Damaged where one is missing or cut short."""
    high = sorted(subtree for subtree in wanted if subtree[0] >= TILE_LEVEL)
    low = sorted(subtree for subtree in wanted if subtree[0] < TILE_LEVEL)
    found = await _nodes(team_id, high) if high else {}
    for tile in sorted({index << level >> TILE_LEVEL for level, index in low}):
        leaves = await leaf_hashes(team_id, tile * TILE, tile * TILE + TILE)
        for level, index in low:
            begin = (index << level) - tile * TILE
            if 0 <= begin < TILE:
                among = leaves[begin : begin + (1 << level)]
                if sum(map(len, among)) != HASH_BYTES << level:
                    raise Damaged(
                        f"the audit trail of {team_id} lacks leaves from row {(index << level) + 1} on"
                    )
                found[level, index] = _folded(among)
    return found


async def leaf_hashes(team_id: str, begin: int, end: int) -> list[bytes]:
    """Of leaves `begin` to `end` (exclusive, from 0), as many as are sealed."""
    rows = await db.fetch(
        """SELECT substring(leaves FROM (greatest($2, from_seq) - from_seq)::int * 32 + 1
                            FOR (least($3, to_seq) - greatest($2, from_seq) + 1)::int * 32) AS leaves
           FROM audit_seals
           WHERE team_id = $1 AND to_seq >= from_seq AND to_seq BETWEEN $2 AND $3 + $4 AND from_seq <= $3
           ORDER BY number""",
        team_id,
        begin + 1,
        end,
        SEAL_MAX,
    )
    return split(b"".join(row["leaves"] for row in rows))


def split(joined: bytes) -> list[bytes]:
    """Hashes one after another, apart."""
    return [joined[at : at + HASH_BYTES] for at in range(0, len(joined), HASH_BYTES)]


async def _nodes(team_id: str, wanted: list[Subtree]) -> dict[Subtree, bytes]:
    rows = await db.fetch(
        """SELECT level, index, hash FROM audit_nodes
           WHERE team_id = $1 AND (level, index) IN (SELECT * FROM unnest($2::int[], $3::bigint[]))""",
        team_id,
        [level for level, _ in wanted],
        [index for _, index in wanted],
    )
    found = {(row["level"], row["index"]): row["hash"] for row in rows}
    for node in wanted:
        if len(found.get(node, b"")) != HASH_BYTES:
            raise Damaged(f"the audit trail of {team_id} lacks the node {node}")
    return found


def _folded(level: list[bytes]) -> bytes:
    while len(level) > 1:
        level = [node_hash(left, right) for left, right in zip(level[::2], level[1::2], strict=True)]
    return level[0]
