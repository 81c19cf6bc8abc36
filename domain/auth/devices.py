"""Devices: a sign-in from somewhere new is told to the owner, who can disown it.

New is what no session of the last 90 days came from: the same program, from the same network. Networks are
compared, not addresses: those change every day at home, and on the way. A session that ended because somebody
else was in it makes nothing known: who is put out and comes back is told of again.
"""

from datetime import timedelta
from ipaddress import ip_address, ip_network
from typing import Final

from domain import db, links
from domain.actor import Actor
from domain.auth import one_time, post, sessions
from domain.auth.mails_model import SessionDisowned
from domain.auth.model import ENDED_AS_ANOTHERS
from domain.clock import now
from domain.record import record
from domain.users import service as users
from domain.users.model import User

PURPOSE: Final = "disown_session"
LASTS: Final = timedelta(days=7)
REMEMBERED: Final = timedelta(days=90)
# After these the owner is told once more than needed, rather than not at all.
_NOT_REMEMBERED: Final = (*ENDED_AS_ANOTHERS, "password_reset", "way_in_undone")
_NETWORK_BITS: Final = {4: 24, 6: 64}


async def look(actor: Actor, user: User) -> None:
    """Mail the owner if the session that has just begun is from somewhere new; never for the first one.

    Sessions that ended long ago are forgotten (sweeping.py): an old account without any had one before.
    """
    forgets_from = now() - REMEMBERED
    rows = await db.fetch(
        """SELECT DISTINCT user_agent, ip,
                  last_seen_at > $3 AND coalesce(revoked_reason, '') <> ALL ($4) AS remembered
           FROM user_sessions WHERE user_id = $1 AND id <> $2""",
        user.id,
        actor.session_id,
        forgets_from,
        _NOT_REMEMBERED,
    )
    here = (actor.user_agent, _network(actor.ip))
    is_first = not rows and user.created_at > forgets_from
    if is_first or here in {(row["user_agent"], _network(row["ip"])) for row in rows if row["remembered"]}:
        return
    if user.email_verified_at is None and not await post.first_in_a_while("new_device", user.email):
        return  # nobody has shown that this address is theirs: it is not to be flooded
    token = await one_time.issue(
        PURPOSE, lasts=LASTS, user_id=user.id, email=user.email, data={"session": actor.session_id}
    )
    await post.tell(
        user.email,
        "new_device",
        name=user.name,
        program=post.program(actor.user_agent),
        ip=actor.ip or "an unknown address",
        link=links.to("disown-session", token),
    )


async def disown(actor: Actor, token: str) -> None:
    """It was not they who signed in: that session ends. Raises Invalid `link_invalid`."""
    async with db.transaction():
        held = await one_time.consume(PURPOSE, token)
        assert held.user_id is not None, "it is for a user"
        user = await users.locked(held.user_id)
        actor = actor.acting_as(user.id, personal_team_id=user.personal_team_id)
        session_id = held.data["session"]
        await record(
            actor, SessionDisowned(team_id=user.personal_team_id, user_id=user.id, session_id=session_id)
        )
        await sessions.revoke(actor, [session_id], "disowned")


def _network(ip: str | None) -> str | None:
    """The network that an address is in: its /24, or /64 for IPv6."""
    if ip is None:
        return None
    try:
        address = ip_address(ip)
    except ValueError:
        return ip  # a socket of another kind has no network
    return str(ip_network(f"{address}/{_NETWORK_BITS[address.version]}", strict=False))
