"""The names of live channels: `<kind>:<id of the owner>`, and what holds for each kind.

What is the platform staff's own has no owner's id: its name is the whole name.

Source: API.md, "Live channels". A kind is here from the day on which somebody follows it; who speaks on
it may come later.
"""

from typing import Final, Literal

import msgspec

from domain import ids


class Kind(msgspec.Struct, frozen=True):
    """One kind of channel: whose id follows the colon, and the permission that following it needs.

    `permission` None means that being the owner (a user) or a member (of the team) is enough.
    `joined_by_server` channels are joined for every connection at connect, and left by none.
    `kept`: "all" is a stream that can be recovered from (or its newest `size` entries), "newest" one where
    only the latest entry counts, "nothing" what is heard by those who are there. With `presence` a channel
    tells who follows it, with `delta` its entries can be had as differences; with `filters` a follower may
    say which of them it wants, by what is in them. Who loses the connection is present for `lingers_s`
    seconds more: whoever reconnects was never away.
    """

    name: str
    owner: str
    permission: str | None = None
    joined_by_server: bool = False
    kept: Literal["all", "newest", "nothing"] = "all"
    size: int | None = None
    presence: bool = False
    lingers_s: float = 0.0
    delta: bool = False
    filters: bool = False


KINDS: Final = {
    kind.name: kind
    for kind in (
        Kind("user", owner="user", joined_by_server=True),
        Kind("notifications", owner="user", joined_by_server=True),
        Kind("team", owner="team", joined_by_server=True),
        Kind("inventory", owner="team", permission="inventory:read"),
        Kind("audit", owner="team", permission="audit:read", filters=True),
        Kind("checkpoints", owner="team", permission="audit:read", kept="newest"),
        Kind("presence", owner="team", kept="nothing", presence=True, lingers_s=10.0),
        Kind("audit:all", owner="staff", kept="nothing", filters=True),
        Kind("system:health", owner="staff"),
    )
}


def user(user_id: str) -> str:
    return f"user:{user_id}"


def notifications(user_id: str) -> str:
    return f"notifications:{user_id}"


def team(team_id: str) -> str:
    return f"team:{team_id}"


def inventory(team_id: str) -> str:
    return f"inventory:{team_id}"


def audit(team_id: str) -> str:
    return f"audit:{team_id}"


def checkpoints(team_id: str) -> str:
    return f"checkpoints:{team_id}"


# What is heard of all teams' trails at once, by the platform's staff; it has no entries of its own.
EVERY_AUDIT: Final = "audit:all"
# What this server's processes find out about those they depend on (domain/health.py).
HEALTH: Final = "system:health"
STAFFS: Final = frozenset(kind.name for kind in KINDS.values() if kind.owner == "staff")


def kind_name(channel: str) -> str:
    """The name of its kind: all of it for what is the staff's own, else what stands before the colon."""
    return channel if channel in STAFFS else channel.partition(":")[0]


def parse(channel: str) -> tuple[Kind, str] | None:
    """The kind and the owner's id (none for the staff's), or None for a name that no channel has."""
    if channel in STAFFS:
        return KINDS[channel], ""
    name, _, owner_id = channel.partition(":")
    kind = KINDS.get(name)
    if kind is None or not ids.is_id(kind.owner, owner_id):
        return None
    return kind, owner_id
