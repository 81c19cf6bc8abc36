"""Rows of the users slice."""

from piccolo.columns import JSONB, BigInt, Boolean, ForeignKey, OnDelete, Text, Timestamptz
from piccolo.table import Table


class Users(Table, tablename="users"):
    """`email` is citext and `personal_team_id` a deferred foreign key: migrations/ says so in SQL.

    `credentials_epoch` counts how often people were put out of the account: domain/auth/proofs.py.
    """

    id = Text(primary_key=True)
    email = Text(null=False, unique=True)
    name = Text(null=False)
    password_hash = Text(null=True, default=None)
    credentials_epoch = BigInt(null=False, default=0)
    email_verified_at = Timestamptz(null=True, default=None)
    is_staff = Boolean(null=False, default=False)
    disabled_at = Timestamptz(null=True, default=None)
    deleted_at = Timestamptz(null=True, default=None)
    personal_team_id = Text(null=False)
    version = BigInt(null=False, default=1)
    created_at = Timestamptz(null=False, default=None)
    updated_at = Timestamptz(null=False, default=None)


class UserProfiles(Table, tablename="user_profiles"):
    """What people say of themselves; the row comes with the account."""

    user_id = ForeignKey(references=Users, null=False, on_delete=OnDelete.restrict, primary_key=True)
    bio = Text(null=False, default="")
    avatar_url = Text(null=True, default=None)
    preferences = JSONB(null=False, default="{}")
    version = BigInt(null=False, default=1)
    created_at = Timestamptz(null=False, default=None)
    updated_at = Timestamptz(null=False, default=None)
