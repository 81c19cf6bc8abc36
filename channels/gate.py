"""The gate: who may follow what. Asked at every join, and again when rights change.

It holds no rights of its own: it asks the same functions as the REST verbs (domain/teams/policy.py,
domain/auth), of the database as it is now. Rights that change are news on the channel of the user whom they
concern, which every connection of that user follows; `concerns` reads that news.
"""

from collections.abc import Collection, Mapping
from typing import Final, Literal

import msgspec
from msgspec import Raw

from channels.nobody import nobody
from channels.protocol import ClientInfo, HangUp, Refused
from channels.rpc import Scope
from domain import channels, measures
from domain.auth import credentials
from domain.auth.credentials import Identity
from domain.auth.tokens import Claims
from domain.channels import Kind
from domain.coalesce import Coalesced
from domain.errors import Forbidden, Unauthenticated
from domain.teams import policy

# News after which a connection must ask again what it may follow.
_CHANGES_RIGHTS: Final = frozenset(
    {
        "teams.created",
        "teams.deleted",
        "teams.restored",
        "teams.member_added",
        "teams.member_removed",
        "teams.role_changed",
        "teams.role_redefined",
    }
)
# The same for the connections of one API key; and what ends those of a session or of a key.
_CHANGES_KEY: Final = frozenset({"auth.api_key_changed", "auth.api_key_rotated"})
_ENDS: Final = frozenset({"auth.session_revoked", "auth.api_key_revoked"})

Roles = Mapping[str, policy.Role]


class Rights(msgspec.Struct, frozen=True):
    """What a session or an API key stands for and may do, as the database had it when it was asked."""

    identity: Identity
    roles: Roles


class Gate:
    """One a process. Questions of many connections at once are put together."""

    def __init__(self) -> None:
        self._identities = Coalesced(credentials.identities)
        self._roles = Coalesced(policy.roles_of)

    async def claims(self, token: str, via: Scope) -> Claims:
        """Whom an access token or an API key names, for how long; `via` is the scope of the connection.

        Raises Refused 103, 109, or HangUp.
        """
        if not token:
            measures.count("auth_failures", "no_token")
            raise HangUp(3501)
        try:
            return await credentials.introduced(token, nobody(via))
        except Forbidden as elsewhere:
            measures.count("auth_failures", elsewhere.problem)
            raise Refused(103) from elsewhere
        except Unauthenticated as unknown:
            measures.count("auth_failures", unknown.problem)
            if unknown.problem == "token_expired":
                raise Refused(109) from unknown
            raise HangUp(3500) from unknown

    async def rights(self, claims: Claims) -> Rights | None:
        """What this session or key may do now; None where it is over."""
        asked = self._identities.ask(claims), self._roles.ask(claims.sub)
        identity, roles = await asked[0], await asked[1]
        return _rights(identity, roles or {}) if identity is not None else None

    async def rights_of(self, known: Collection[Claims]) -> dict[Claims, Rights]:
        """The same for many, in two queries; those that are over are left out."""
        identities = await credentials.identities(known)
        roles = await policy.roles_of(sorted({claims.sub for claims in known}))
        return {claims: _rights(identity, roles[claims.sub]) for claims, identity in identities.items()}

    def kind_of(self, channel: str) -> Kind:
        """What holds for a channel that may be followed."""
        parsed = channels.parse(channel)
        assert parsed is not None, "may_follow refuses names that no channel has"
        return parsed[0]

    def own_channel(self, user_id: str) -> str:
        """The channel on which news of the user's rights comes."""
        return channels.user(user_id)

    def require(self, rights: Rights, channel: str, via: Scope, token: str | None = None) -> None:
        """May this client, which asks for it, follow a channel? Raises as may_follow does.

        Who knows of it and may not leaves a row in the trail, as over REST; `via` is the connection's scope.
        """
        try:
            self.may_follow(rights, channel, token)
        except Refused:
            _note(rights, channel, via)
            raise

    def may_follow(self, rights: Rights, channel: str, token: str | None = None) -> None:
        """Raises Refused: 102 for a name that no channel has, 103 alike for forbidden and for absent.

        An API key hears what it could read over REST: never what is said to its user in person.
        `token` is the one that a subscribe came with; here rights are enough, and it is not looked at.
        """
        parsed = channels.parse(channel)
        if parsed is None:
            raise Refused(102)
        kind, owner_id = parsed
        limits = rights.identity.limits
        if kind.owner == "staff":
            allowed = rights.identity.is_staff and limits is None
        elif kind.owner == "user":
            allowed = owner_id == rights.identity.user_id and limits is None
        else:
            granted = policy.grants(rights.roles.get(owner_id), kind.permission)
            allowed = granted and policy.left(limits, kind.permission)
        if not allowed:
            raise Refused(103)

    async def publish(self, rights: Rights, channel: str, data: Raw, by: ClientInfo) -> None:
        """Clients act through REST or rpc, never by publishing. Raises Refused."""
        self.may_follow(rights, channel)
        raise Refused(103)

    def joined_by_server(self, rights: Rights) -> list[str]:
        """What a connection of this user follows from its connect on: their own channels, their teams'.

        Of those, what an API key may follow.
        """
        own, limits = rights.identity.user_id, rights.identity.limits
        return [
            f"{kind.name}:{owner_id}"
            for kind in channels.KINDS.values()
            if kind.joined_by_server and (limits is None or kind.owner == "team")
            if policy.left(limits, kind.permission)
            for owner_id in ([own] if kind.owner == "user" else rights.roles)
        ]

    def allowed(self, rights: Rights, wanted: Collection[str]) -> list[str]:
        """Those of these channels that may be followed, or are heard for news of these rights."""
        own = self.own_channel(rights.identity.user_id)
        allowed: list[str] = []
        for channel in wanted:
            try:
                if channel != own:
                    self.may_follow(rights, channel)
            except Refused:
                continue  # whoever asks for it is told so by require
            allowed.append(channel)
        return allowed

    def still_right(self, rights: Rights, followed: Collection[str], joined: Collection[str]) -> bool:
        """Whether what is followed is all allowed, and nothing that the server joins is missing."""
        return len(self.allowed(rights, followed)) == len(followed) and set(joined) <= set(followed)

    def introduction(self, rights: Rights) -> Raw:
        """What others on a channel see of this user, as JSON."""
        return Raw(msgspec.json.encode({"name": rights.identity.name}))

    def concerns(self, pushed: bytes, credential: str) -> Literal["nothing", "rights", "end"]:
        """What a push on the `user:` channel means for a connection of this session or key."""
        news = _pushed.decode(pushed).push.pub.data
        is_about_it = credential in (news.data.session_id, news.data.key_id)
        if news.type in _CHANGES_RIGHTS or (is_about_it and news.type in _CHANGES_KEY):
            return "rights"
        return "end" if is_about_it and news.type in _ENDS else "nothing"


def _note(rights: Rights, channel: str, via: Scope) -> None:
    """For the trail that the refusal belongs to, if there is one: strangers leave none."""
    parsed = channels.parse(channel)
    if parsed is None:
        return
    (kind, owner_id), actor = parsed, rights.identity.acting(nobody(via))
    if kind.owner == "team":
        role = rights.roles.get(owner_id)
        if role is not None:
            policy.note(actor, kind.permission or policy.MEMBERSHIP, owner_id, role)
    elif actor.limits is not None and owner_id in ("", actor.user):
        policy.note(actor, "session")
    elif kind.owner == "staff":
        policy.note(actor, "staff")


def _rights(identity: Identity, roles: Roles) -> Rights:
    """A stranger's role is what a key has in teams that it does not reach."""
    return Rights(identity, identity.limits.reached(roles) if identity.limits is not None else roles)


class _Data(msgspec.Struct):
    session_id: str = msgspec.field(name="sessionId", default="")
    key_id: str = msgspec.field(name="keyId", default="")


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
