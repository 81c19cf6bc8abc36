"""Rows of the audit trail. Written by domain/record.py alone, never changed.

Partitioned by month; migrations/ says so in SQL, since Piccolo cannot. `user_id` has no foreign key: the
trail keeps who did it when the user is gone.
"""

from piccolo.columns import JSONB, BigInt, Bytea, ForeignKey, Integer, OnDelete, SmallInt, Text, Timestamptz
from piccolo.table import Table

from domain.teams.tables import Teams


class AuditLogs(Table, tablename="audit_logs"):
    id = Text(primary_key=True)
    seq = BigInt(null=False, default=0)
    team_id = Text(null=False)
    user_id = Text(null=True, default=None)
    action = Text(null=False)
    resource_type = Text(null=False)
    resource = Text(null=False)
    timestamp = Timestamptz(null=False, default=None)
    metadata = JSONB(null=False, default="{}")
    changes = JSONB(null=False, default="{}")
    outcome = Text(null=False)
    request_id = Text(null=True, default=None)
    session_id = Text(null=True, default=None)
    key_id = Text(null=True, default=None)
    ip = Text(null=True, default=None)
    user_agent = Text(null=True, default=None)


class AuditKeys(Table, tablename="audit_keys"):
    """What checkpoints are signed with: `public` are 32 bytes, `secret` the private half, encrypted."""

    id = Text(primary_key=True)
    public = Bytea(null=False, default=None)
    secret = Text(null=False)
    created_at = Timestamptz(null=False, default=None)


class AuditSeals(Table, tablename="audit_seals"):
    """Checkpoints; `leaves` are the hashes of the rows that each one added, one after another.

    The key is (team_id, number); migrations/ says so in SQL.
    """

    team_id = Text(primary_key=True)
    number = BigInt(null=False, default=0)
    from_seq = BigInt(null=False, default=0)
    to_seq = BigInt(null=False, default=0)
    kept_from = BigInt(null=False, default=1)
    root = Bytea(null=False, default=None)
    previous_root = Bytea(null=False, default=None)
    leaves = Bytea(null=False, default=None)
    key_id = ForeignKey(references=AuditKeys, null=False, on_delete=OnDelete.restrict)
    signature = Bytea(null=False, default=None)
    sealed_at = Timestamptz(null=False, default=None)


class AuditNodes(Table, tablename="audit_nodes"):
    """Complete subtrees of 256 leaves and more; the key is (team_id, level, index)."""

    team_id = Text(primary_key=True)
    level = SmallInt(null=False, default=0)
    index = BigInt(null=False, default=0)
    hash = Bytea(null=False, default=None)


class AuditPolicies(Table, tablename="audit_policies"):
    """How long a team's audit rows are kept, and since when nothing goes (a legal hold)."""

    team_id = ForeignKey(references=Teams, null=False, on_delete=OnDelete.restrict, primary_key=True)
    keep_days = Integer(null=False, default=400)
    held_since = Timestamptz(null=True, default=None)
