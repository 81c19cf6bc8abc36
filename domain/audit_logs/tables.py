"""Rows of the audit trail. Written by domain/record.py alone, never changed.

Partitioned by month; migrations/ says so in SQL, since Piccolo cannot. `user_id` has no foreign key: the
trail keeps who did it when the user is gone.
"""

from piccolo.columns import JSONB, BigInt, Text, Timestamptz
from piccolo.table import Table


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
