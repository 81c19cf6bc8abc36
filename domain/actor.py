"""Actor: who asks, from where, with which session or key. The first argument of every verb.

An actor says who someone is, never what they may do: rights are asked of domain/teams/policy.py each time.
Who comes with an API key may less than that: `limits` says how much of it is left.
"""

from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import TypeVar

import msgspec

from domain.errors import Unauthenticated

T = TypeVar("T")


@lru_cache(1024)
def source(address: str | None) -> str | None:
    """Where somebody comes from, as an actor says it: IPv4 in IPv6 (of a dual-stack socket) is IPv4."""
    try:
        found = ip_address(address or "")
    except ValueError:
        return address  # a socket of another kind
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return address if mapped is None else str(mapped)


class Limits(msgspec.Struct, frozen=True):
    """How far an API key reaches within the rights of its user: with these permissions, in all their teams
    or in one.

    It takes away and never gives: a decision is that a role grants it *and* that the limits leave it.
    """

    scopes: frozenset[str]
    team_id: str | None

    def leave(self, permission: str) -> bool:
        return permission in self.scopes

    def reach(self, team_id: str) -> bool:
        return self.team_id is None or self.team_id == team_id

    def reached(self, by_team: Mapping[str, T]) -> dict[str, T]:
        """Of what there is for several teams, that of those it reaches."""
        return {team_id: value for team_id, value in by_team.items() if self.reach(team_id)}


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """`user_id` is None for the system itself and for somebody who has not signed in.

    `limits` is there if and only if `key_id` is; `explain` only for staff, who asked why they are refused.
    """

    user_id: str | None = None
    session_id: str | None = None
    key_id: str | None = None
    limits: Limits | None = None
    personal_team_id: str | None = None
    is_staff: bool = False
    explain: bool = False
    ip: str | None = None
    user_agent: str | None = None
    request_id: str | None = None

    @property
    def user(self) -> str:
        """The id of the signed-in user. Raises Unauthenticated where nobody is."""
        if self.user_id is None:
            raise Unauthenticated("Sign in first.")
        return self.user_id

    def team(self, chosen: str | None) -> str:
        """The team a request is about: the one it names, or else the key's own, or the personal one."""
        if chosen is not None:
            return chosen
        if self.limits is not None and self.limits.team_id is not None:
            return self.limits.team_id
        if self.personal_team_id is None:
            raise Unauthenticated("Sign in first.")
        return self.personal_team_id

    def acting_as(
        self, user_id: str, *, session_id: str | None = None, personal_team_id: str | None = None
    ) -> "Actor":
        """The same caller, now known: used by registration and login."""
        return msgspec.structs.replace(
            self, user_id=user_id, session_id=session_id, personal_team_id=personal_team_id
        )
