"""Rows of the teams slice."""

from piccolo.columns import JSONB, BigInt, Boolean, ForeignKey, OnDelete, Text, Timestamptz
from piccolo.constraints import Check, Unique
from piccolo.table import Table

from domain.users.tables import Users


class Teams(Table, tablename="teams"):
    id = Text(primary_key=True)
    name = Text(null=False)
    slug = Text(null=False, unique=True)
    owner_id = ForeignKey(references=Users, null=False, on_delete=OnDelete.restrict, index=True)
    personal = Boolean(null=False, default=False)
    metadata = JSONB(null=False, default="{}")
    deleted_at = Timestamptz(null=True, default=None)
    purged_at = Timestamptz(null=True, default=None)
    version = BigInt(null=False, default=1)
    created_at = Timestamptz(null=False, default=None)
    updated_at = Timestamptz(null=False, default=None)


class TeamMembers(Table, tablename="team_members"):
    """`team_deleted_at` is the team's own, put here by a trigger: whoever holds a membership holds that too.

    So a change under way comes before the deletion of its team, or is refused (domain/teams/policy.py).
    """

    id = Text(primary_key=True)
    team_id = ForeignKey(references=Teams, null=False, on_delete=OnDelete.restrict)
    user_id = ForeignKey(references=Users, null=False, on_delete=OnDelete.restrict, index=True)
    role = Text(null=False)
    joined_at = Timestamptz(null=False, default=None)
    team_deleted_at = Timestamptz(null=True, default=None)

    team_members_once = Unique([team_id, user_id])
    team_members_known_role = Check("role IN ('owner', 'admin', 'member', 'viewer')")


class TeamTransfers(Table, tablename="team_transfers"):
    """The ownership of a team, offered: one offer a team."""

    team_id = ForeignKey(references=Teams, null=False, on_delete=OnDelete.restrict, primary_key=True)
    from_user_id = ForeignKey(references=Users, null=False, on_delete=OnDelete.restrict, index=True)
    to_user_id = ForeignKey(references=Users, null=False, on_delete=OnDelete.restrict, index=True)
    created_at = Timestamptz(null=False, default=None)
    expires_at = Timestamptz(null=False, default=None)
