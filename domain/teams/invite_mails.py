"""Invite mails: the token in an invitation's link, the mail it travels in, and how many of those there are.

Rules   a token is 256 random bits, of which only the SHA-256 is kept. A team mails an address at most
        MAILS_MAX times in an hour, and is told so; all teams together ALL_MAILS_MAX times, and nobody is
        told, because it would say what other teams do: the invitation stands, and can be mailed again later.
        A team, and a person in all teams, sends SENT_MAX in an hour, to whomever.
"""

import hashlib
import math
import secrets
from datetime import datetime, timedelta
from typing import Final

from domain import db, links, mail
from domain.errors import RateLimited
from domain.teams.invites_model import Invite

PREFIX: Final = "mit_"
MAILS_MAX = 5
ALL_MAILS_MAX = 20
SENT_MAX = 100
WITHIN: Final = timedelta(hours=1)


def new_token() -> str:
    """A token that nobody has seen yet."""
    return PREFIX + secrets.token_urlsafe(32)


def hashed(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


async def send(invite: Invite, token: str, *, inviter: str, at: datetime) -> None:
    """Mail the link once the transaction commits. `inviter` is a name.

    Raises Invalid `undeliverable_address`, RateLimited.
    """
    # What is counted below stays so until the end: of two teams that invite at once one is counted first.
    for counted in (f"mails by {invite.invited_by}", f"mails to {invite.email.lower()}"):
        await db.execute("SELECT pg_advisory_xact_lock(hashtext($1))", counted)
    await _require_few(invite, at)
    if not await _may_be_mailed(invite, at):
        return
    await db.execute(
        """UPDATE team_invites SET mailed_at = array_append(
               ARRAY(SELECT t FROM unnest(mailed_at) AS t WHERE t > $3), $2::timestamptz) WHERE id = $1""",
        invite.id,
        at,
        at - WITHIN,
    )
    team = await db.fetchval("SELECT name FROM teams WHERE id = $1", invite.team_id)
    await mail.send(
        invite.email,
        "team_invite",
        # Names are anybody's text: one that looks like an address would be somebody's advertisement.
        inviter=mail.harmless(inviter) or "Somebody",
        team=mail.harmless(team) or "a team",
        role=invite.role,
        link=links.to("team-invite", token),
    )


async def _require_few(invite: Invite, at: datetime) -> None:
    """Raises RateLimited where the team, or whoever invites, has sent too many of late."""
    row = await db.fetchrow(
        """SELECT count(*) AS sent, min(t) AS first FROM team_invites, unnest(mailed_at) AS t
           WHERE (team_id = $1 OR invited_by = $2) AND updated_at > $3 AND t > $3""",
        invite.team_id,
        invite.invited_by,
        at - WITHIN,
    )
    assert row is not None, "a count has a row"
    if row["sent"] >= SENT_MAX:
        raise RateLimited(
            f"No more than {SENT_MAX} invitations are mailed in an hour: wait.",
            code="too_many_mails",
            retryAfter=max(1, math.ceil((row["first"] + WITHIN - at).total_seconds())),
        )


async def _may_be_mailed(invite: Invite, at: datetime) -> bool:
    """Whether this address may have one more. Raises RateLimited where this team has mailed it too often."""
    row = await db.fetchrow(
        """SELECT count(*) AS by_all, count(*) FILTER (WHERE team_id = $2) AS by_team,
                  min(t) FILTER (WHERE team_id = $2) AS first
           FROM team_invites, unnest(mailed_at) AS t WHERE email = $1 AND t > $3""",
        invite.email,
        invite.team_id,
        at - WITHIN,
    )
    assert row is not None, "a count has a row"
    if row["by_team"] >= MAILS_MAX:
        raise RateLimited(
            f"A team mails an address {MAILS_MAX} times in an hour at most: wait.",
            code="too_many_mails",
            retryAfter=max(1, math.ceil((row["first"] + WITHIN - at).total_seconds())),
        )
    return bool(row["by_all"] < ALL_MAILS_MAX)
