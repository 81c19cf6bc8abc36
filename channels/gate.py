"""The gate: who may follow what. Asked at every join, and again when rights change.

It holds no rights of its own: it asks the same functions as the REST verbs (domain/teams/policy.py,
domain/auth), of the database as it is now. Rights that change are news on the channel of the user whom they
concern, which every connection of that user follows; `concerns` reads that news.
"""

import asyncio
from collections.abc import Collection, Mapping
from typing import Final, Literal

import msgspec
from msgspec import Raw

from channels.coalesce import Coalesced
from channels.protocol import ClientInfo, HangUp, Refused
from domain import channels
from domain.auth import sessions
from domain.auth.sessions import Identity
from domain.auth.tokens import Claims
from domain.channels import Kind
from domain.errors import Unauthenticated
from domain.teams import policy

# News after which a connection must ask again what it may follow.
_CHANGES_RIGHTS: Final = frozenset(
    {"teams.created", "teams.member_added", "teams.member_removed", "teams.role_changed"}
)
_ENDS_SESSION: Final = "auth.session_revoked"

Roles = Mapping[str, policy.Role]


class Rights(msgspec.Struct, frozen=True):
    """What a session stands for and may do, as the database had it when it was asked."""

    identity: Identity
    roles: Roles


class Gate:
    """One a process. Questions of many connections at once are put together."""

    def __init__(self) -> None:
        self._identities = Coalesced(sessions.identities)
        self._roles = Coalesced(policy.roles_of)

    def claims(self, token: str) -> Claims:
        """Whom an access token names, for how long. Raises Refused 109, or HangUp."""
        if not token:
            raise HangUp(3501)
        try:
            return sessions.claims(token)
        except Unauthenticated as unknown:
            if unknown.problem == "token_expired":
                raise Refused(109) from unknown
            raise HangUp(3500) from unknown

    async def rights(self, user_id: str, session_id: str) -> Rights | None:
        """What this session may do now; None where it is over."""
        asked = self._identities.ask(session_id), self._roles.ask(user_id)
        identity, roles = await asyncio.shield(asked[0]), await asyncio.shield(asked[1])
        if identity is None or identity.user_id != user_id:
            return None
        return Rights(identity, roles or {})

    async def rights_of(self, users: Mapping[str, str]) -> dict[str, Rights]:
        """The same for many sessions (session -> user), in two queries; those that are over are left out."""
        identities = await sessions.identities(sorted(users))
        roles = await policy.roles_of(sorted(set(users.values())))
        return {
            session_id: Rights(identity, roles[identity.user_id])
            for session_id, identity in identities.items()
            if identity.user_id == users[session_id]
        }

    def kind_of(self, channel: str) -> Kind:
        """What holds for a channel that may be followed."""
        parsed = channels.parse(channel)
        assert parsed is not None, "may_follow refuses names that no channel has"
        return parsed[0]

    def own_channel(self, user_id: str) -> str:
        """The channel on which news of the user's rights comes."""
        return channels.user(user_id)

    def may_follow(self, rights: Rights, channel: str, token: str | None = None) -> None:
        """Raises Refused: 102 for a name that no channel has, 103 alike for forbidden and for absent.

        `token` is the one that a subscribe came with; here rights are enough, and it is not looked at.
        """
        parsed = channels.parse(channel)
        if parsed is None:
            raise Refused(102)
        kind, owner_id = parsed
        if kind.owner == "user":
            allowed = owner_id == rights.identity.user_id
        else:
            allowed = policy.grants(rights.roles.get(owner_id), kind.permission)
        if not allowed:
            raise Refused(103)

    async def publish(self, rights: Rights, channel: str, data: Raw, by: ClientInfo) -> None:
        """Clients act through REST or rpc, never by publishing. Raises Refused."""
        self.may_follow(rights, channel)
        raise Refused(103)

    def joined_by_server(self, rights: Rights) -> list[str]:
        """What a connection of this user follows from its connect on: their own channels, their teams'."""
        return [
            f"{kind.name}:{owner_id}"
            for kind in channels.KINDS.values()
            if kind.joined_by_server
            for owner_id in ([rights.identity.user_id] if kind.owner == "user" else rights.roles)
        ]

    def allowed(self, rights: Rights, wanted: Collection[str]) -> list[str]:
        """Those of these channels that may be followed."""
        allowed: list[str] = []
        for channel in wanted:
            try:
                self.may_follow(rights, channel)
            except Refused:
                continue  # whoever asks for it is told so by may_follow
            allowed.append(channel)
        return allowed

    def still_right(self, rights: Rights, followed: Collection[str], joined: Collection[str]) -> bool:
        """Whether what is followed is all allowed, and nothing that the server joins is missing."""
        return len(self.allowed(rights, followed)) == len(followed) and set(joined) <= set(followed)

    def introduction(self, rights: Rights) -> Raw:
        """What others on a channel see of this user, as JSON."""
        return Raw(msgspec.json.encode({"name": rights.identity.name}))

    def concerns(self, pushed: bytes, session_id: str) -> Literal["nothing", "rights", "session"]:
        """What a push on the `user:` channel means for a connection of this session."""
        news = _pushed.decode(pushed).push.pub.data
        if news.type in _CHANGES_RIGHTS:
            return "rights"
        if news.type == _ENDS_SESSION and news.data.session_id == session_id:
            return "session"
        return "nothing"


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
