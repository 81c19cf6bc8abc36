"""Leaves: an audit row as the bytes that the Merkle tree is made of.

Every column is in it, in one fixed form: JSON with the members in the order of AuditRecord, `changes` and
`metadata` as Postgres writes them. Nothing of a row can be altered without another leaf.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw

from domain.audit_logs.merkle import leaf_hash
from domain.audit_logs.model import AuditRecord

_JSON: Final = ("metadata", "changes")
COLUMNS: Final = ", ".join(
    f"{name}::text AS {name}" if name in _JSON else f'"{name}"' for name in AuditRecord.__struct_fields__
)


def leaf(row: Mapping[str, Any]) -> bytes:
    """The leaf of a row that was read as COLUMNS."""
    return msgspec.json.encode(_with(row, {name: Raw(row[name].encode()) for name in _JSON}))


def record_of(row: Mapping[str, Any]) -> AuditRecord:
    """The same row as it is read back."""
    return _with(row, {name: msgspec.json.decode(row[name]) for name in _JSON})


def hash_of(row: Mapping[str, Any]) -> bytes:
    return leaf_hash(leaf(row))


def _with(row: Mapping[str, Any], json: Mapping[str, Any]) -> AuditRecord:
    return AuditRecord(**{name: json.get(name, row[name]) for name in AuditRecord.__struct_fields__})
