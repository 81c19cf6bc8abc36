"""Reports: what an auditor asks of a team first, from its own trail and its members as they are now.

    access              who has access to what and since when; what changed of it
    failed-logins       sign-ins, keys and second factors that were refused
    permission-changes  roles given, changed and taken; keys made, changed and ended
    data-exports        copies that were taken

A report of a team is made of that team's own trail. Sign-ins are in the trail of the person's own team, so
nobody else reads them in a report; what was tried with a team's API keys is in the team's.
"""

from datetime import datetime
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
from msgspec import Meta

from domain import db
from domain.actor import Actor
from domain.audit_logs import reading
from domain.audit_logs.model import AuditRecord, Filter
from domain.clock import now
from domain.errors import NotFound
from domain.record import record
from domain.teams import policy

Preset = Literal["access", "failed-logins", "permission-changes", "data-exports"]
Form = Literal["json", "csv", "html"]
PRESETS: Final = get_args(Preset)

ROWS_MAX: Final = 5000
TITLES: Final[dict[Preset, str]] = {
    "access": "Who has access",
    "failed-logins": "Failed sign-ins",
    "permission-changes": "Changes of permissions",
    "data-exports": "Copies of data",
}
PERMISSION_CHANGES: Final = (
    "teams.created",
    "teams.member_added",
    "teams.member_removed",
    "teams.role_changed",
    "teams.role_defined",
    "teams.role_redefined",
    "teams.role_removed",
    "teams.invited",
    "teams.invite_accepted",
    "teams.transfer_accepted",
    "teams.deleted",
    "teams.restored",
    "auth.api_key_created",
    "auth.api_key_changed",
    "auth.api_key_rotated",
    "auth.api_key_revoked",
)
DATA_EXPORTS: Final = (
    "audit_logs.reported",
    "audit_logs.export_started",
    "audit_logs.exported",
    "audit_logs.export_broken",
    "users.exported",
)
_COLUMNS: Final = ", ".join(AuditRecord.__struct_fields__)
_IN_THE_WINDOW: Final = """team_id = $1 AND ($2::timestamptz IS NULL OR "timestamp" >= $2)
    AND ($3::timestamptz IS NULL OR "timestamp" < $3)"""


class MemberAccess(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A member, as of now."""

    user_id: str
    name: str
    role: Annotated[str, Meta(description="what they are in the team")]
    permissions: Annotated[list[str], Meta(description="what that role grants")]
    joined_at: Annotated[datetime, Meta(description="when they came")]
    role_since: Annotated[datetime, Meta(description="when they got this role")]
    last_seen_at: Annotated[datetime | None, Meta(description="null if they have no session any more")]
    own_keys: Annotated[int, Meta(description="API keys of theirs that reach all of their teams")]


class KeyAccess(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """An API key of the team that is good now; it may what is in its scopes and in its user's role."""

    id: str
    user_id: str
    name: str
    scopes: Annotated[list[str], Meta(description="what it may do of what its user may")]
    created_at: datetime
    expires_at: Annotated[datetime | None, Meta(description="null if it does not end by itself")]
    last_used: Annotated[datetime | None, Meta(description="null if it never was")]


class Report(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """`members` and `keys` are as of `madeAt`; `rows` are of the window, newest first."""

    team_id: str
    preset: Preset
    since: Annotated[datetime | None, Meta(description="rows from this time on")] = msgspec.field(name="from")
    until: Annotated[datetime | None, Meta(description="rows before this time")] = msgspec.field(name="to")
    made_at: Annotated[datetime, Meta(description="when")]
    members: Annotated[list[MemberAccess], Meta(description="of `access`: everybody in the team")] = []
    keys: Annotated[list[KeyAccess], Meta(description="of `access`: the team's keys that are good")] = []
    rows: Annotated[list[AuditRecord], Meta(description="what happened in the window")] = []
    has_more: Annotated[bool, Meta(description="there are more rows in the window than a report takes")] = (
        False
    )


async def make(actor: Actor, team_id: str, preset: Preset, only: Filter) -> Report:
    """The report; of the filter, only the times count. Raises what `policy.require` raises."""
    await policy.require(actor, team_id, "audit:read")
    async with db.snapshot():
        rows = await _rows(team_id, preset, only)
        is_access = preset == "access"
        report = Report(
            team_id=team_id,
            preset=preset,
            since=only.since,
            until=only.until,
            made_at=now(),
            members=await _members(team_id) if is_access else [],
            keys=await _keys(team_id) if is_access else [],
            rows=rows[:ROWS_MAX],
            has_more=len(rows) > ROWS_MAX,
        )
    what = {
        "preset": preset,
        "filter": reading.told(Filter(since=only.since, until=only.until)),
        "count": len(report.members) + len(report.keys) + len(report.rows),
    }
    async with db.transaction():
        await record(actor, reading.AuditLogsReported(team_id=team_id, what=what))
    return report


async def _rows(team_id: str, preset: Preset, only: Filter) -> list[AuditRecord]:
    args: list[Any] = [team_id, only.since, only.until]
    if preset == "failed-logins":
        sql = f"""SELECT {_COLUMNS} FROM audit_logs
                  WHERE {_IN_THE_WINDOW} AND outcome = 'denied' AND outcome <> 'success'
                    AND action LIKE 'auth.%'"""  # noqa: S608 - names of ours
    else:
        args.append(DATA_EXPORTS if preset == "data-exports" else PERMISSION_CHANGES)
        # One action after the other: each has its rows in the order of the trail.
        sql = f"""SELECT {_COLUMNS} FROM unnest($4::text[]) AS wanted (one), LATERAL (
                      SELECT {_COLUMNS} FROM audit_logs WHERE {_IN_THE_WINDOW} AND action = wanted.one
                      ORDER BY seq DESC LIMIT {ROWS_MAX + 1}) AS found"""  # noqa: S608 - see above
    found = await db.fetch(f"{sql} ORDER BY seq DESC LIMIT {ROWS_MAX + 1}", *args)
    return [db.as_struct(AuditRecord, row) for row in found]


async def _members(team_id: str) -> list[MemberAccess]:
    rows = await db.fetch(
        """SELECT m.user_id, u.name, m.role, m.joined_at,
                  coalesce(changed.at, m.joined_at) AS role_since, seen.at AS last_seen_at,
                  (SELECT count(*) FROM api_keys k WHERE k.user_id = m.user_id AND k.team_id IS NULL
                   AND k.status = 'active' AND (k.expires_at IS NULL OR k.expires_at > $2)) AS own_keys
           FROM team_members m JOIN users u ON u.id = m.user_id
           LEFT JOIN LATERAL (
               SELECT "timestamp" AS at FROM audit_logs
               WHERE team_id = $1 AND resource = m.user_id AND action = 'teams.role_changed'
                 AND "timestamp" >= m.joined_at
               ORDER BY seq DESC LIMIT 1) AS changed ON true
           LEFT JOIN LATERAL (
               SELECT max(last_seen_at) AS at FROM user_sessions WHERE user_id = m.user_id) AS seen ON true
           WHERE m.team_id = $1 ORDER BY m.joined_at, m.user_id""",
        team_id,
        now(),
    )
    roles = await policy.roles_of([row["user_id"] for row in rows])
    return [
        MemberAccess(**dict(row), permissions=_permissions(roles[row["user_id"]].get(team_id)))
        for row in rows
    ]


def _permissions(role: policy.Role | None) -> list[str]:
    """Raises NotFound where there is no role: the team was deleted since the caller's right was asked."""
    if role is None:
        raise NotFound.of("team")
    return sorted(role.permissions)


async def _keys(team_id: str) -> list[KeyAccess]:
    rows = await db.fetch(
        """SELECT k.id, k.user_id, k.name, k.scopes, k.created_at, k.expires_at, k.last_used FROM api_keys k
           JOIN team_members m ON m.team_id = k.team_id AND m.user_id = k.user_id
           WHERE k.team_id = $1 AND k.status = 'active' AND (k.expires_at IS NULL OR k.expires_at > $2)
           ORDER BY k.created_at, k.id""",
        team_id,
        now(),
    )
    return [db.as_struct(KeyAccess, row) for row in rows]
