"""The gate: who may follow what. Asked at every join, and again when rights change.

It holds no rights of its own: it asks the same functions as the REST verbs (domain/teams/policy.py,
domain/auth), of the database as it is now. Rights that change are news on the channel of the user whom they
concern, which every connection of that user follows; `concerns` reads that news.
"""

from collections.abc import Collection, Mapping
from typing import Final, Literal

import msgspec

from channels.protocol import Refused
from domain import channels
from domain.teams import policy

# News after which a connection must ask again what it may follow.
_CHANGES_RIGHTS: Final = frozenset(
    {"teams.created", "teams.member_added", "teams.member_removed", "teams.role_changed", "teams.deleted"}
)
_ENDS_SESSION: Final = "auth.session_revoked"

Roles = Mapping[str, policy.Role]


class _Data(msgspec.Struct):
    session_id: str = msgspec.field(name="sessionId", default="")


class _News(msgspec.Struct):
    type: str
    data: _Data


class _Publication(msgspec.Struct):
    data: _News


class _Push(msgspec.Struct):
    pub: _Publication


class _Pushed(msgspec.Struct):
    push: _Push


_pushed = msgspec.json.Decoder(_Pushed)


async def roles_of(user_id: str) -> Roles:
    """The user's roles as the database has them now: what the other functions here decide by."""
    return (await policy.roles_of([user_id]))[user_id]


def may_follow(user_id: str, roles: Roles, channel: str) -> None:
    """Raises Refused: 102 for a name that no channel has, 103 alike for forbidden and for absent."""
    parsed = channels.parse(channel)
    if parsed is None:
        raise Refused(102)
    kind, owner_id = parsed
    if kind.owner == "user":
        allowed = owner_id == user_id
    else:
        allowed = policy.grants(roles.get(owner_id), kind.permission)
    if not allowed:
        raise Refused(103)


def joined_by_server(user_id: str, roles: Roles) -> list[str]:
    """What every connection of this user follows from its connect on: their own channels and their teams'."""
    return [
        f"{kind.name}:{owner_id}"
        for kind in channels.KINDS.values()
        if kind.joined_by_server
        for owner_id in ([user_id] if kind.owner == "user" else roles)
    ]


def still_right(user_id: str, roles: Roles, followed: Collection[str]) -> bool:
    """Whether these channels are all allowed, and none that the server joins is missing."""
    try:
        for channel in followed:
            may_follow(user_id, roles, channel)
    except Refused:
        return False
    return all(channel in followed for channel in joined_by_server(user_id, roles))


def concerns(pushed: bytes, session_id: str) -> Literal["nothing", "rights", "session"]:
    """What a push on the `user:` channel means for a connection of this session."""
    news = _pushed.decode(pushed).push.pub.data
    if news.type in _CHANGES_RIGHTS:
        return "rights"
    if news.type == _ENDS_SESSION and news.data.session_id == session_id:
        return "session"
    return "nothing"
