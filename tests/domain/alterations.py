"""What somebody with the whole database in hand can do to an audit trail.

Each alteration is done as a superuser, past every trigger, in the transaction of the caller. It returns what
it did, in words. `INSIDER` ones also have the installation's signing key, or an older copy of the database.
"""

import random
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from domain import db, ids
from domain.audit_logs import leaves, merkle, seals, signing, tree
from domain.audit_logs.merkle import Grown
from domain.audit_logs.model import AuditRecord
from domain.audit_logs.seals_model import Checkpoint
from domain.audit_logs.signing import SigningKey

Alteration = Callable[[random.Random, str], Awaitable[str]]

_TEXTS: Final = (
    "id", "user_id", "action", "resource_type", "resource", "request_id", "session_id", "key_id", "ip",
    "user_agent",
)  # fmt: skip
_COLUMNS: Final = ", ".join(AuditRecord.__struct_fields__)


async def flip(chance: random.Random, team_id: str) -> str:
    """One bit of one field of one row."""
    row = await _row(chance, team_id)
    kind = chance.choice(("text", "json", "time", "outcome"))
    if kind == "text":
        column = chance.choice(_TEXTS)
        await _set(team_id, row["seq"], column, _flipped(chance, row[column] or "x"))
    elif kind == "json":
        column = chance.choice(("changes", "metadata"))
        await _set(team_id, row["seq"], column, {**row[column], "note": _flipped(chance, "note")}, "jsonb")
    elif kind == "time":
        await db.execute(
            """UPDATE audit_logs SET timestamp = timestamp + '1 microsecond'
               WHERE team_id = $1 AND seq = $2""",
            team_id,
            row["seq"],
        )
    else:
        await _set(team_id, row["seq"], "outcome", "denied" if row["outcome"] == "success" else "success")
    return f"{kind} of row {row['seq']}"


async def delete(chance: random.Random, team_id: str) -> str:
    row = await _row(chance, team_id)
    await db.execute("DELETE FROM audit_logs WHERE team_id = $1 AND seq = $2", team_id, row["seq"])
    return f"row {row['seq']} deleted"


async def insert(chance: random.Random, team_id: str) -> str:
    """A row more, beside another one or at the end, counted or not."""
    row = dict(await _row(chance, team_id))
    at = row["seq"] if chance.random() < 0.5 else await _top(team_id) + 1
    await _insert(
        row | {"id": ids.new("aud"), "seq": at, "timestamp": row["timestamp"].replace(microsecond=1)}
    )
    return f"a row inserted at {at}"


async def swap(chance: random.Random, team_id: str) -> str:
    one, other = chance.sample(await _rows(team_id), 2)
    await db.execute(
        """UPDATE audit_logs SET seq = CASE seq WHEN $2 THEN $3::bigint ELSE $2 END
           WHERE team_id = $1 AND seq IN ($2, $3)""",
        team_id,
        one["seq"],
        other["seq"],
    )
    return f"rows {one['seq']} and {other['seq']} swapped"


async def renumber(chance: random.Random, team_id: str) -> str:
    """A row taken out, and those behind it moved up, the count included."""
    row = await _row(chance, team_id)
    await db.execute("DELETE FROM audit_logs WHERE team_id = $1 AND seq = $2", team_id, row["seq"])
    await db.execute(
        "UPDATE audit_logs SET seq = seq - 1 WHERE team_id = $1 AND seq > $2", team_id, row["seq"]
    )
    await _count(team_id)
    return f"row {row['seq']} taken out"


async def cut(chance: random.Random, team_id: str) -> str:
    """The rows at the end, somewhere within a checkpoint, and the count."""
    last = chance.randrange(1, await _top(team_id))
    await _cut_rows(team_id, last)
    return f"cut after row {last}"


async def rewrite(chance: random.Random, team_id: str) -> str:
    """A row altered, and every hash above it computed again, signed with a key of their own."""
    done = await flip(chance, team_id)
    if chance.random() < 0.5:
        await _seal_again(team_id, None)
        return f"{done}, hashes computed again"
    key = await _foreign_key()
    await _seal_again(team_id, key)
    return f"{done}, hashes computed and signed again"


async def spoil(chance: random.Random, team_id: str) -> str:
    """One bit of what seals it: a root, a signature, a leaf, a number, a node, the key."""
    column = chance.choice(("root", "previous_root", "signature", "leaves"))
    kind = chance.choice(("seal", "kept_from", "sealed_at", "node", "key"))
    number = (chance.choice(await _seals(team_id)))["number"]
    where = "WHERE team_id = $1 AND number = $2"
    if kind == "seal":
        await db.execute(
            f"""UPDATE audit_seals SET {column} = set_bit({column}, $3, 1 - get_bit({column}, $3)) {where}
                AND length({column}) > 0""",  # noqa: S608 - names of ours
            team_id,
            number,
            chance.randrange(256),
        )
    elif kind == "kept_from":
        await db.execute(f"UPDATE audit_seals SET kept_from = kept_from + 1 {where}", team_id, number)  # noqa: S608 - as above
    elif kind == "sealed_at":
        await db.execute(
            f"UPDATE audit_seals SET sealed_at = sealed_at + '1 second' {where}",  # noqa: S608 - as above
            team_id,
            number,
        )
    elif kind == "node":
        await db.execute(
            "INSERT INTO audit_nodes (team_id, level, index, hash) VALUES ($1, 8, $2, $3)",
            team_id,
            chance.randrange(100),
            merkle.EMPTY,
        )
    else:
        foreign = await _foreign_key()
        await db.execute(f"UPDATE audit_seals SET key_id = $3 {where}", team_id, number, foreign.id)  # noqa: S608 - as above
    return f"{kind} of checkpoint {number}"


async def sign_again(chance: random.Random, team_id: str) -> str:
    """A row altered, and everything above it computed and signed again with the installation's own key."""
    done = await flip(chance, team_id)
    await _seal_again(team_id, await signing.current())
    return f"{done}, all of it signed again"


async def roll_back(chance: random.Random, team_id: str) -> str:
    """The database as it was after an earlier checkpoint."""
    *earlier, _ = await _seals(team_id)
    seal = chance.choice(earlier)
    await _cut_rows(team_id, seal["to_seq"])
    await db.execute("DELETE FROM audit_seals WHERE team_id = $1 AND number > $2", team_id, seal["number"])
    return f"rolled back to checkpoint {seal['number']}"


async def branch(chance: random.Random, team_id: str) -> str:
    """The same, and then other rows and other checkpoints on top, as many as there were."""
    rows = await _rows(team_id)
    done = await roll_back(chance, team_id)
    for row in rows[await _top(team_id) :]:
        await _insert(row | {"id": ids.new("aud"), "action": "tests.invented"})
    await _count(team_id)
    while await seals.seal(team_id):
        pass
    return f"{done}, and gone on otherwise"


OUTSIDER: Final[tuple[Alteration, ...]] = (flip, delete, insert, swap, renumber, cut, rewrite, spoil)
INSIDER: Final[tuple[Alteration, ...]] = (sign_again, roll_back, branch)


async def _rows(team_id: str) -> list[dict[str, Any]]:
    return [
        dict(row)
        for row in await db.fetch(
            f"SELECT {_COLUMNS} FROM audit_logs WHERE team_id = $1 ORDER BY seq",  # noqa: S608 - names of ours
            team_id,
        )
    ]


async def _row(chance: random.Random, team_id: str) -> dict[str, Any]:
    return chance.choice(await _rows(team_id))


async def _seals(team_id: str) -> list[Any]:
    return await db.fetch("SELECT * FROM audit_seals WHERE team_id = $1 ORDER BY number", team_id)


async def _set(team_id: str, seq: int, column: str, value: object, kind: str = "text") -> None:
    await db.execute(
        f"UPDATE audit_logs SET {column} = $3::{kind} WHERE team_id = $1 AND seq = $2",  # noqa: S608 - names of ours
        team_id,
        seq,
        value,
    )


async def _insert(row: dict[str, Any]) -> None:
    names = list(row)
    await db.execute(
        f"""INSERT INTO audit_logs ({", ".join(names)})
            VALUES ({", ".join(f"${nth}" for nth in range(1, len(names) + 1))})""",  # noqa: S608 - names of ours
        *row.values(),
    )


async def _cut_rows(team_id: str, last: int) -> None:
    await db.execute("DELETE FROM audit_logs WHERE team_id = $1 AND seq > $2", team_id, last)
    await _count(team_id)


async def _count(team_id: str) -> None:
    """Let the count say what is there."""
    await db.execute(
        """UPDATE stream_heads SET top = (SELECT coalesce(max(seq), 0) FROM audit_logs WHERE team_id = $2)
           WHERE channel = $1""",
        f"audit:{team_id}",
        team_id,
    )


async def _top(team_id: str) -> int:
    top: int = await db.fetchval("SELECT max(seq) FROM audit_logs WHERE team_id = $1", team_id)
    return top


async def _foreign_key() -> SigningKey:
    """A key pair that somebody put into the database, not sealed with ENCRYPTION_KEY."""
    private = signing.Ed25519PrivateKey.generate()
    made = SigningKey(ids.new("akey"), private.public_key().public_bytes_raw(), private)
    ours = await db.fetchval("SELECT secret FROM audit_keys ORDER BY id LIMIT 1")
    await db.execute(
        "INSERT INTO audit_keys (id, public, secret, created_at) VALUES ($1, $2, $3, now())",
        made.id,
        made.public,
        ours,
    )
    return made


async def _seal_again(team_id: str, key: SigningKey | None) -> None:
    """Compute leaves and roots again from the rows as they are now; without a key signatures stay."""
    grown, root = Grown(), merkle.EMPTY
    rows = await db.fetch(
        f"SELECT {leaves.COLUMNS} FROM audit_logs WHERE team_id = $1 ORDER BY seq",  # noqa: S608 - names of ours
        team_id,
    )
    for row in await _seals(team_id):
        added = [leaves.hash_of(one) for one in rows[row["from_seq"] - 1 : row["to_seq"]]]
        for leaf in added:
            grown.add(leaf)
        seal = msgspec.structs.replace(db.as_struct(Checkpoint, row), root=grown.root(), previous_root=root)
        if key is not None:
            seal = msgspec.structs.replace(seal, key_id=key.id)
            seal = msgspec.structs.replace(seal, signature=key.sign(seal.text.encode()))
        await db.execute(
            """UPDATE audit_seals SET leaves = $3, root = $4, previous_root = $5, key_id = $6, signature = $7
               WHERE team_id = $1 AND number = $2""",
            team_id,
            seal.number,
            b"".join(added),
            seal.root,
            seal.previous_root,
            seal.key_id,
            seal.signature,
        )
        root = seal.root
    for node, found in grown.made.items():
        if node[0] >= tree.TILE_LEVEL:
            await db.execute(
                "UPDATE audit_nodes SET hash = $4 WHERE team_id = $1 AND level = $2 AND index = $3",
                team_id,
                *node,
                found,
            )


def _flipped(chance: random.Random, text: str) -> str:
    """The text with one bit of one character turned, as a text that Postgres keeps."""
    at = chance.randrange(len(text))
    bit = chance.choice([bit for bit in range(7) if 32 <= ord(text[at]) ^ 1 << bit < 127])
    return f"{text[:at]}{chr(ord(text[at]) ^ 1 << bit)}{text[at + 1 :]}"
