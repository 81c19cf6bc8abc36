"""Sealing: every few seconds the new rows of each team's trail go under a signed root.

Owns    audit_seals, audit_nodes, audit_keys
Says    audit_logs.sealed
Rules   rows are sealed in the order of `seq`, each once; a checkpoint names the root before it, so that none
        can be taken out; nothing of this is ever changed.

A row's `seq` is given out under the lock of its stream's head, which is held until COMMIT: every row up to a
top that can be read is there, and no later one comes in between.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import asyncpg
import msgspec

from domain import db, jobs, pages
from domain.actor import Actor
from domain.audit_logs import copies, leaves, merkle, signing, tree
from domain.audit_logs.apart import Apart
from domain.audit_logs.copies import Copy
from domain.audit_logs.merkle import Grown
from domain.audit_logs.seals_model import Checkpoint, Sealed, SignedCheckpoint
from domain.audit_logs.tree import Damaged
from domain.audit_logs.waiting import Waiting
from domain.clock import now
from domain.conditions import Conditions
from domain.pages import Page
from domain.record import record
from domain.teams import policy

EVERY = timedelta(seconds=5)
WORK_S = 50
# While a trail is damaged each run fails: the more often it is tried, the fewer parked jobs that leaves.
TRIES = 100
_waiting = Waiting()
_COLUMNS = ", ".join(f"s.{name}" for name in Checkpoint.__struct_fields__)
_SIGNED = f"SELECT {_COLUMNS}, k.public AS public_key FROM audit_seals s JOIN audit_keys k ON k.id = s.key_id"  # noqa: S608 - names of ours


@jobs.cron("audit.seal", every=EVERY, tries=TRIES, within_s=WORK_S + 10)
async def seal_all() -> None:
    """Seal what is new in every team's trail; what is not done within WORK_S is left to the next run.

    Raises apart.Failed at the end where a team's trail cannot be sealed.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + WORK_S
    apart = Apart("sealed")
    for team_id in await _unsealed():
        with apart.team(team_id):
            while (sealed := await seal(team_id)) == tree.SEAL_MAX and loop.time() < until:
                pass
            if sealed < tree.SEAL_MAX:
                _waiting.done(team_id)
        if loop.time() >= until:
            break
    apart.end()


async def seal(team_id: str, *, kept_from: int | None = None) -> int:
    """Put the next rows of this team, at most tree.SEAL_MAX, under a new checkpoint; how many they were.

    With `kept_from` there is a checkpoint in any case: it says that rows before that one may be gone.
    Raises tree.Damaged.
    """
    async with db.transaction() as unit:
        await unit.connection.execute("SELECT pg_advisory_xact_lock(hashtext($1))", f"seals of {team_id}")
        before = await newest(team_id)
        size = before.to_seq if before is not None else 0
        rows = await unit.connection.fetch(
            f"SELECT {leaves.COLUMNS} FROM audit_logs WHERE team_id = $1 AND seq > $2 ORDER BY seq LIMIT $3",  # noqa: S608 - names of ours
            team_id,
            size,
            tree.SEAL_MAX,
        )
        if not rows and kept_from is None:
            return 0
        _dense(team_id, size, rows)
        grown = await _grown(team_id, before)
        added = [leaves.hash_of(row) for row in rows]
        for leaf in added:
            grown.add(leaf)
        key = await signing.current()
        checkpoint = Checkpoint(
            team_id=team_id,
            number=before.number + 1 if before is not None else 1,
            from_seq=size + 1,
            to_seq=grown.size,
            kept_from=kept_from or (before.kept_from if before is not None else 1),
            root=grown.root(),
            previous_root=before.root if before is not None else merkle.EMPTY,
            key_id=key.id,
            sealed_at=now(),
            signature=b"",
        )
        text = checkpoint.text
        checkpoint = msgspec.structs.replace(checkpoint, signature=key.sign(text.encode()))
        await _write(unit.connection, checkpoint, b"".join(added), grown)
        await copies.enqueue(team_id)
        await record(Actor(), Sealed(team_id=team_id, checkpoint=signed(checkpoint, key.public)))
    return len(rows)


@copies.COPY.handler
async def copy(wanted: Copy) -> None:
    """Copy the newest checkpoint of a team: the others are under its root.

    While this runs no other job for it is taken (copies.enqueue), so what came meanwhile is copied, too.
    """
    copied = 0
    while (checkpoint := await newest(wanted.team_id)) is not None and checkpoint.number != copied:
        await copies.write(checkpoint)
        copied = checkpoint.number


async def newest(team_id: str) -> SignedCheckpoint | None:
    """The last checkpoint of a team."""
    row = await db.fetchrow(f"{_SIGNED} WHERE s.team_id = $1 ORDER BY s.number DESC LIMIT 1", team_id)
    return None if row is None else as_signed(row)


async def at_size(team_id: str, size: int) -> SignedCheckpoint | None:
    """The first checkpoint over exactly so many rows."""
    row = await db.fetchrow(
        f"{_SIGNED} WHERE s.team_id = $1 AND s.to_seq = $2 ORDER BY s.number LIMIT 1", team_id, size
    )
    return None if row is None else as_signed(row)


async def checkpoints(
    actor: Actor, team_id: str, *, limit: int, cursor: str | None
) -> Page[SignedCheckpoint]:
    """A team's checkpoints, newest first."""
    await policy.require(actor, team_id, "audit:read")
    scope = f"checkpoints {actor.user} {team_id}"
    asked = Conditions("s.team_id = {}", team_id)
    asked.must("s.number < {}", pages.unseal(cursor, scope=scope)[0] if cursor else None)
    rows = await db.fetch(
        f"{_SIGNED} WHERE {asked.where} ORDER BY s.number DESC LIMIT {limit + 1:d}", *asked.args
    )
    return pages.cut([as_signed(row) for row in rows], limit, scope=scope, key=lambda one: [one.number])


def as_signed(row: Any) -> SignedCheckpoint:
    return signed(db.as_struct(Checkpoint, row), row["public_key"])


def signed(checkpoint: Checkpoint, public: bytes) -> SignedCheckpoint:
    fields = msgspec.structs.asdict(checkpoint)
    return SignedCheckpoint(**fields, signed=checkpoint.text, public_key=public)


async def _unsealed() -> list[str]:
    return await _waiting.teams()


def _dense(team_id: str, size: int, rows: Sequence[Any]) -> None:
    """Raises Damaged where a row is missing or stands twice: a trail like that is not sealed over."""
    for seq, row in enumerate(rows, size + 1):
        if row["seq"] != seq:
            raise Damaged(f"the audit trail of {team_id} has row {row['seq']} where {seq} should be")


async def _grown(team_id: str, before: Checkpoint | None) -> Grown:
    """The tree as it was sealed last. Raises Damaged where what is kept of it does not lead to that root."""
    size = before.to_seq if before is not None else 0
    edge = merkle.subtrees(0, size)
    hashes = await tree.hashes(team_id, edge)
    grown = Grown(size, [hashes[subtree] for subtree in edge], made_from=tree.TILE_LEVEL)
    if before is not None and grown.root() != before.root:
        raise Damaged(
            f"what is kept of the audit trail of {team_id} is not what checkpoint {before.number} sealed"
        )
    return grown


async def _write(connection: asyncpg.Connection, checkpoint: Checkpoint, added: bytes, grown: Grown) -> None:
    fields = msgspec.structs.asdict(checkpoint) | {"leaves": added}
    await connection.execute(
        f"""INSERT INTO audit_seals ({", ".join(fields)})
            VALUES ({", ".join(f"${nth}" for nth in range(1, len(fields) + 1))})""",  # noqa: S608 - names of ours
        *fields.values(),
    )
    await connection.executemany(
        "INSERT INTO audit_nodes (team_id, level, index, hash) VALUES ($1, $2, $3, $4)",
        [(checkpoint.team_id, *subtree, found) for subtree, found in grown.made.items()],
    )
