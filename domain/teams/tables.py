"""Rows of the teams slice."""

from piccolo.columns import JSONB, Array, BigInt, Boolean, ForeignKey, OnDelete, Text, Timestamptz
from piccolo.constraints import Unique
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
    version = BigInt(null=False, default=1)
    created_at = Timestamptz(null=False, default=None)
    updated_at = Timestamptz(null=False, default=None)


class TeamMembers(Table, tablename="team_members"):
    id = Text(primary_key=True)
    team_id = ForeignKey(references=Teams, null=False, on_delete=OnDelete.restrict)
    user_id = ForeignKey(references=Users, null=False, on_delete=OnDelete.restrict, index=True)
    role = Text(null=False)
    joined_at = Timestamptz(null=False, default=None)

    team_members_once = Unique([team_id, user_id])


class TeamRoles(Table, tablename="team_roles"):
    """A team's own roles. A generated column of team_members refers to them: migration T21:31."""

    id = Text(primary_key=True)
    team_id = ForeignKey(references=Teams, null=False, on_delete=OnDelete.restrict)
    name = Text(null=False)
    permissions = Array(base_column=Text(), null=False, default=list)
    version = BigInt(null=False, default=1)
    created_at = Timestamptz(null=False, default=None)
    updated_at = Timestamptz(null=False, default=None)

    team_roles_once = Unique([team_id, name])
