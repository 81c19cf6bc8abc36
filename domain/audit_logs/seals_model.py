"""Nouns of sealing: checkpoints of a team's audit trail, and proofs that a row is under one."""

from base64 import b64encode
from datetime import datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from domain import channels
from domain.audit_logs.model import AuditRecord
from domain.events import Event, Resource

HASH_BYTES: Final = 32
Hash = Annotated[bytes, Meta(description="32 bytes, in base64")]


class Checkpoint(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A signed tree head: the root over a team's audit trail, up to a row.

    Keep it elsewhere. Whatever is done to the trail afterwards, up to that row, no longer leads to this root.
    """

    team_id: str
    number: Annotated[int, Meta(description="1, 2, 3 … in each team")]
    from_seq: Annotated[int, Meta(description="the first row that this one added")]
    to_seq: Annotated[int, Meta(description="the last row; the size of the tree")]
    kept_from: Annotated[int, Meta(description="rows before this one may be gone: their time was up")]
    root: Hash
    previous_root: Annotated[bytes, Meta(description="the root of the checkpoint before, in base64")]
    key_id: Annotated[str, Meta(description="which key signed it")]
    sealed_at: Annotated[datetime, Meta(description="when")]
    signature: Annotated[bytes, Meta(description="Ed25519 over `text`, in base64")]

    @property
    def text(self) -> str:
        """What is signed: a checkpoint as transparency logs write them (C2SP, tlog-checkpoint)."""
        return "\n".join(
            (
                f"maycole.audit/{self.team_id}",
                str(self.to_seq),
                b64encode(self.root).decode(),
                f"number {self.number}",
                f"from {self.from_seq}",
                f"kept-from {self.kept_from}",
                f"previous {b64encode(self.previous_root).decode()}",
                f"key {self.key_id}",
                f"sealed {self.sealed_at.isoformat()}",
                "",
            )
        )


class SignedCheckpoint(Checkpoint, frozen=True, rename="camel", kw_only=True):
    """A checkpoint with all that somebody else needs to check its signature."""

    signed: Annotated[str, Meta(description="the text that `signature` is over")]
    public_key: Annotated[bytes, Meta(description="Ed25519, 32 bytes, in base64")]


class Proof(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """That a row of the trail is under a checkpoint's root (RFC 6962, section 2.1.1).

    SHA-256 of a zero byte and `leaf` is the leaf's hash; with `path` it leads to `checkpoint.root`.
    """

    record: AuditRecord
    leaf: Annotated[str, Meta(description="the row as it is in the tree, as text")]
    index: Annotated[int, Meta(description="the place in the tree, from 0: `seq` - 1")]
    path: Annotated[list[bytes], Meta(description="hashes from the leaf to the root, each in base64")]
    checkpoint: SignedCheckpoint


class Consistency(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """That the tree of a checkpoint begins the tree of a later one (RFC 6962, section 2.1.2)."""

    earlier: SignedCheckpoint
    later: SignedCheckpoint
    path: Annotated[list[bytes], Meta(description="hashes, each in base64")]


class Sealed(Event, frozen=True, kw_only=True):
    """There is a new checkpoint of the team's audit trail."""

    type = "audit_logs.sealed"
    in_the_trail = False

    checkpoint: SignedCheckpoint

    def resource(self) -> Resource:
        return Resource("checkpoint", str(self.checkpoint.number))

    def channels(self) -> tuple[str, ...]:
        return (channels.checkpoints(self.team_id),)

    def news(self) -> SignedCheckpoint:
        return self.checkpoint
