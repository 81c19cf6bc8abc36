"""Rows of the auth slice."""

from piccolo.columns import ForeignKey, Integer, OnDelete, Text, Timestamptz
from piccolo.table import Table

from domain.users.tables import Users


class UserSessions(Table, tablename="user_sessions"):
    """`token` and `previous_hash` are SHA-256 of the current and the last refresh token, in hex."""

    id = Text(primary_key=True)
    user_id = ForeignKey(references=Users, null=False, on_delete=OnDelete.restrict, index=True)
    token = Text(null=False, unique=True)
    generation = Integer(null=False, default=1)
    previous_hash = Text(null=True, default=None)
    rotated_at = Timestamptz(null=True, default=None)
    expires_at = Timestamptz(null=False, default=None)
    ip = Text(null=True, default=None)
    user_agent = Text(null=True, default=None)
    last_seen_at = Timestamptz(null=False, default=None)
    revoked_at = Timestamptz(null=True, default=None)
    revoked_reason = Text(null=True, default=None)
    created_at = Timestamptz(null=False, default=None)
