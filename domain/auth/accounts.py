"""Accounts as a whole: closed by their owner, shut by staff, copied out.

Closing one never fails on what its owner has made: that stays, and the row of the person with it, without
anything that tells who they were. Teams that would be left without an owner are named first.
"""

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from domain import db, idempotency
from domain.actor import Actor
from domain.auth import api_keys, mfa, post, sessions
from domain.auth.model import Session
from domain.clock import now
from domain.errors import AnyOf, Conflict, Stale
from domain.record import record
from domain.teams import policy
from domain.teams import service as teams
from domain.users import service as users
from domain.users.model import (
    Profile,
    StaffPatch,
    StaffUser,
    User,
    UserDeleted,
    UserDisabled,
    UserEnabled,
    UserExported,
)

TRAIL_MAX: Final = 10_000
# What is only of use to somebody who can still sign in.
_GOES_WITH_THE_PERSON: Final = (
    "oauth_identities",
    "mfa_factors",
    "recovery_codes",
    "passkeys",
    "one_time_tokens",
    "api_keys",
)


class Copy(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """All that is kept of a person."""

    user: User
    profile: Annotated[Profile, Meta(description="what they say of themselves")]
    sessions: Annotated[list[Session], Meta(description="where they are signed in")]
    teams: Annotated[list[dict[str, Any]], Meta(description="id, name, role, joinedAt of each")]
    identities: Annotated[list[dict[str, Any]], Meta(description="provider, email, createdAt of each")]
    passkeys: Annotated[list[dict[str, Any]], Meta(description="name, createdAt, lastUsedAt of each")]
    api_keys: Annotated[list[dict[str, Any]], Meta(description="name, scopes, createdAt of each")]
    trail: Annotated[
        list[dict[str, Any]],
        Meta(description=f"what they did, newest first, at most {TRAIL_MAX} rows of the audit trail"),
    ]


async def close(actor: Actor) -> None:
    """Close the caller's own account: signed out everywhere, out of every team, forgotten.

    For good: the address is mailed that it was done, and by which program. Raises Conflict `sole_owner`,
    Forbidden `step_up_required`.
    """
    await mfa.require_fresh(actor)
    async with db.transaction():
        await sessions.hold(actor)
        await _tell_closed(actor, await users.me(actor))
        await teams.leave_all(actor)
        await sessions.end_all(actor, "account_deleted")
        await api_keys.end_all(actor, actor.user)
        await idempotency.forget(actor.user)
        for table in _GOES_WITH_THE_PERSON:
            await db.execute(f"DELETE FROM {table} WHERE user_id = $1", actor.user)  # noqa: S608 - names of ours
        await db.execute(
            "UPDATE user_sessions SET ip = NULL, user_agent = NULL WHERE user_id = $1", actor.user
        )
        await users.erase(actor.user)
        await record(actor, UserDeleted(team_id=actor.team(None), user_id=actor.user))


async def staff_change(
    actor: Actor, user_id: str, patch: StaffPatch, *, if_version: AnyOf | None = None
) -> StaffUser:
    """Shut an account or open it again. What changes nothing says nothing.

    Raises Forbidden `staff_only`, NotFound, Conflict `own_account`, `account_deleted`; Stale where
    `if_version` lacks the current one.
    """
    policy.require_staff(actor)
    async with db.transaction():
        before = await users.for_staff(actor, user_id, lock=True)
        if before.id == actor.user:
            raise Conflict("Ask somebody else to disable your own account.", code="own_account")
        if before.deleted_at is not None:
            raise Conflict("This account was closed by its owner.", code="account_deleted")
        Stale.unless(before, if_version)
        if patch.disabled == (before.disabled_at is not None):
            return before
        await users.set_disabled(user_id, now() if patch.disabled else None)
        kind = UserDisabled if patch.disabled else UserEnabled
        await record(actor, kind(team_id=before.personal_team_id, user_id=user_id))
        await post.tell(
            before.email, "account_disabled" if patch.disabled else "account_enabled", name=before.name
        )
        if patch.disabled:
            await sessions.end_all(actor, "account_disabled", of=user_id)
            await api_keys.end_all(actor, user_id)
        return await users.for_staff(actor, user_id)


async def copy(actor: Actor) -> Copy:
    """All that is kept of the caller, as of one moment; that they took it is in the trail."""
    async with db.transaction():
        await record(actor, UserExported(team_id=actor.team(None), user_id=actor.user))
    async with db.snapshot():
        return Copy(
            user=await users.me(actor),
            profile=await users.profile(actor),
            sessions=await _sessions(actor),
            teams=await _rows(
                actor,
                """SELECT t.id, t.name, m.role, m.joined_at AS "joinedAt" FROM team_members m
                   JOIN teams t ON t.id = m.team_id WHERE m.user_id = $1 ORDER BY t.id""",
            ),
            identities=await _rows(
                actor,
                """SELECT provider, email, created_at AS "createdAt" FROM oauth_identities
                   WHERE user_id = $1 ORDER BY id""",
            ),
            passkeys=await _rows(
                actor,
                """SELECT name, created_at AS "createdAt", last_used_at AS "lastUsedAt" FROM passkeys
                   WHERE user_id = $1 ORDER BY id""",
            ),
            api_keys=await _rows(
                actor,
                """SELECT name, scopes, created_at AS "createdAt" FROM api_keys
                   WHERE user_id = $1 ORDER BY id""",
            ),
            trail=await _rows(
                actor,
                f"""SELECT id, team_id AS "teamId", action, resource, timestamp, outcome, ip,
                           user_agent AS "userAgent"
                    FROM audit_logs WHERE user_id = $1 ORDER BY timestamp DESC, id DESC LIMIT {TRAIL_MAX}""",  # noqa: S608 - a number of ours
            ),
        )


async def _tell_closed(actor: Actor, user: User) -> None:
    """A mail to the address that the account has until now: there is no way back, so they are to know."""
    if user.email_verified_at is None and not await post.first_in_a_while("account_closed", user.email):
        return  # nobody has shown that this address is theirs: it is not to be flooded
    await post.tell(
        user.email,
        "account_closed",
        name=user.name,
        program=post.program(actor.user_agent),
        ip=actor.ip or "an unknown address",
    )


async def _sessions(actor: Actor) -> list[Session]:
    found: list[Session] = []
    cursor = None
    while True:
        page = await sessions.listed(actor, limit=100, cursor=cursor)
        found += page.items
        if page.next_cursor is None:
            return found
        cursor = page.next_cursor


async def _rows(actor: Actor, sql: str) -> list[dict[str, Any]]:
    return [dict(row) for row in await db.fetch(sql, actor.user)]
