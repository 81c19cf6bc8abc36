"""Rows of the teams slice."""

from piccolo.columns import JSONB, Array, BigInt, Boolean, ForeignKey, OnDelete, Text, Timestamptz
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


class TeamInvites(Table, tablename="team_invites"):
    """Invitations. `email` is citext, one is pending for each team and address, and a role of the team's own
    stays as long: migrations/ says so in SQL.

    `token_hash` is the SHA-256 of the token in the mail, in hex; `mailed_at` when it was mailed of late.
    """

    id = Text(primary_key=True)
    team_id = ForeignKey(references=Teams, null=False, on_delete=OnDelete.restrict)
    email = Text(null=False, index=True)
    role = Text(null=False)
    status = Text(null=False, default="pending")
    token_hash = Text(null=False, unique=True)
    invited_by = ForeignKey(references=Users, null=False, on_delete=OnDelete.restrict, index=True)
    mailed_at = Array(base_column=Timestamptz(), null=False, default=list)
    asked_at = Timestamptz(null=True, default=None)
    expires_at = Timestamptz(null=False, default=None)
    created_at = Timestamptz(null=False, default=None)
    updated_at = Timestamptz(null=False, default=None)

    team_invites_known_status = Check("status IN ('pending', 'accepted', 'declined', 'revoked', 'expired')")


class TeamTransfers(Table, tablename="team_transfers"):
    """The ownership of a team, offered: one offer a team."""

    team_id = ForeignKey(references=Teams, null=False, on_delete=OnDelete.restrict, primary_key=True)
    from_user_id = ForeignKey(references=Users, null=False, on_delete=OnDelete.restrict, index=True)
    to_user_id = ForeignKey(references=Users, null=False, on_delete=OnDelete.restrict, index=True)
    created_at = Timestamptz(null=False, default=None)
    expires_at = Timestamptz(null=False, default=None)
