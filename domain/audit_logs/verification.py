"""Verification: the whole of a team's trail, computed again and held against what was signed.

What is checked, in this order: every checkpoint's place in the chain, its signature and its root, computed
from the leaves' hashes; every row against its leaf's hash; the nodes that proofs are made of; and, where they
are given, checkpoints that were kept elsewhere. Only those show what somebody did who has the signing key
too, or who put the whole database back to an earlier day.
"""

from collections.abc import Collection, Mapping
from typing import Final

import msgspec

from domain import channels, crypto, db
from domain.audit_logs import leaves, merkle, signing, tree
from domain.audit_logs.merkle import Grown, Subtree
from domain.audit_logs.seals_model import HASH_BYTES, Checkpoint
from domain.audit_logs.signing import SigningKey

_SEALS: Final = f"""SELECT {", ".join(Checkpoint.__struct_fields__)}, leaves FROM audit_seals
                    WHERE team_id = $1 ORDER BY number"""  # noqa: S608 - names of ours
_ROWS: Final = f"""SELECT {leaves.COLUMNS} FROM audit_logs WHERE team_id = $1 ORDER BY seq, id"""  # noqa: S608 - as above


class Bad(msgspec.Struct, frozen=True):
    """The first thing that is wrong with a trail: the row (or first of the rows) it is about, and what."""

    seq: int
    what: str


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one team's trail: `bad` is None where all is well."""

    team_id: str
    rows: int
    sealed: int
    checkpoints: int
    bad: Bad | None = None


class _Wrong(Exception):
    def __init__(self, seq: int, what: str) -> None:
        super().__init__(what)
        self.bad = Bad(seq, what)


async def teams() -> list[str]:
    """Whose trails there are: those with rows, with checkpoints, or with a stream of their own."""
    prefix = channels.audit("")
    rows = await db.fetch(
        f"""{_named("audit_seals")} UNION {_named("audit_logs")}
            UNION SELECT substr(channel, $2) FROM stream_heads WHERE channel LIKE $1 AND top > 0
            ORDER BY team_id""",  # noqa: S608 - names of ours
        f"{prefix}%",
        len(prefix) + 1,
    )
    return [row["team_id"] for row in rows]


def _named(table: str) -> str:
    """The teams in a table whose key begins with them: from each to the next one, not row by row."""
    return f"""(WITH RECURSIVE named AS (
            (SELECT team_id FROM {table} ORDER BY team_id LIMIT 1)
            UNION ALL
            SELECT (SELECT team_id FROM {table} WHERE team_id > n.team_id ORDER BY team_id LIMIT 1)
            FROM named n WHERE n.team_id IS NOT NULL
        ) SELECT team_id FROM named WHERE team_id IS NOT NULL)"""  # noqa: S608 - names of ours


async def verify(team_id: str, kept_elsewhere: Collection[Checkpoint] = ()) -> Verified:
    """Go through one team's trail; `kept_elsewhere` are checkpoints of this team. Inside a snapshot."""
    trail = _Trail(team_id, kept_elsewhere)
    bad = None
    try:
        await trail.check()
    except _Wrong as wrong:
        bad = wrong.bad
    return Verified(
        team_id=team_id, rows=trail.rows, sealed=trail.grown.size, checkpoints=trail.checkpoints, bad=bad
    )


class _Trail:
    """One team's trail, while it is gone through."""

    def __init__(self, team_id: str, kept_elsewhere: Collection[Checkpoint]) -> None:
        self.team_id = team_id
        self.kept_elsewhere = sorted(kept_elsewhere, key=lambda checkpoint: checkpoint.to_seq)
        self.grown = Grown(made_from=tree.TILE_LEVEL)
        self.rows = self.checkpoints = 0
        self.kept_from = 1
        self.leaves = bytearray()
        self.roots = {0: merkle.EMPTY}

    async def check(self) -> None:
        await self._seals()
        await self._against_others()
        await self._rows()
        await self._nodes()

    async def _seals(self) -> None:
        """The chain of checkpoints: none missing, each signed, each root what its leaves make."""
        keys = await _keys()
        root = merkle.EMPTY
        async for row in db.stream(_SEALS, self.team_id):
            seal, first = db.as_struct(Checkpoint, row), self.grown.size + 1
            self.checkpoints += 1
            if (seal.number, seal.from_seq, seal.previous_root) != (self.checkpoints, first, root):
                raise _Wrong(
                    first, f"checkpoint {self.checkpoints} is missing or does not follow on the one before"
                )
            for leaf in tree.split(row["leaves"]):
                self.grown.add(leaf)
            self.leaves += row["leaves"]
            root = self.roots[self.grown.size] = self.grown.root()
            if (seal.to_seq, seal.root) != (self.grown.size, root):
                raise _Wrong(first, f"checkpoint {seal.number} has another root than the rows it sealed")
            key = keys.get(seal.key_id)
            if key is None or not signing.is_signed(key.public, seal.signature, seal.text.encode()):
                raise _Wrong(first, f"checkpoint {seal.number} is not signed by a key of ours")
            self.kept_from = max(self.kept_from, seal.kept_from)

    async def _against_others(self) -> None:
        """Checkpoints from elsewhere: what they are over is still there, and has the same roots."""
        for other in self.kept_elsewhere:
            if other.to_seq > self.grown.size:
                raise _Wrong(
                    self.grown.size + 1,
                    f"a checkpoint kept elsewhere is over {other.to_seq} rows: {self.grown.size} are left",
                )
            if self.roots.get(other.to_seq) != other.root:
                raise _Wrong(
                    other.from_seq, f"a checkpoint kept elsewhere has another root over {other.to_seq} rows"
                )

    async def _rows(self) -> None:
        """Every row is there once, and is what was sealed; those that wait to be sealed are dense."""
        expected = 1
        async for row in db.stream(_ROWS, self.team_id):
            seq = row["seq"]
            if seq < expected:
                raise _Wrong(seq, "there are two rows in this place")
            if seq > expected and seq > self.kept_from:
                raise _Wrong(max(expected, self.kept_from), "the row is missing")
            if seq <= self.grown.size and leaves.hash_of(row) != self._leaf(seq):
                raise _Wrong(seq, f"the row {row['id']} is not what was sealed")
            self.rows += 1
            expected = seq + 1
        top = await db.fetchval(
            "SELECT top FROM stream_heads WHERE channel = $1", channels.audit(self.team_id)
        )
        last = max(self.grown.size, top or 0)
        if max(expected, self.kept_from) <= last:
            raise _Wrong(max(expected, self.kept_from), "the row is missing")
        if expected > (top or 0) + 1:
            raise _Wrong((top or 0) + 1, "the row is beyond what the trail has counted")

    def _leaf(self, seq: int) -> bytes:
        return bytes(self.leaves[(seq - 1) * HASH_BYTES : seq * HASH_BYTES])

    async def _nodes(self) -> None:
        """The nodes that proofs are made of are those of this tree."""
        made = self.grown.made
        kept: dict[Subtree, bytes] = {
            (row["level"], row["index"]): row["hash"]
            async for row in db.stream(
                "SELECT level, index, hash FROM audit_nodes WHERE team_id = $1", self.team_id
            )
        }
        for node in sorted(made.keys() | kept.keys()):
            if made.get(node) != kept.get(node):
                raise _Wrong((node[1] << node[0]) + 1, f"the node {node} is not that of the tree")


async def _keys() -> Mapping[str, SigningKey]:
    """The keys that are ours; one that does not open here vouches for nothing.

    Raises crypto.UnknownKey without the installation's ENCRYPTION_KEY: that is no finding about a trail.
    """
    found: dict[str, SigningKey] = {}
    for row in await db.fetch("SELECT * FROM audit_keys"):
        try:
            found[row["id"]] = signing.opened(row)
        except crypto.UnknownKey:
            raise
        except crypto.Unopenable:
            continue  # its checkpoints are said not to be signed
    return found
