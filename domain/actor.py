"""Actor: who asks, from where, with which session or key. The first argument of every verb.

An actor says who someone is, never what they may do: rights are asked of domain/teams/policy.py each time.
"""

import msgspec

from domain.errors import Unauthenticated


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """`user_id` is None for the system itself and for somebody who has not signed in."""

    user_id: str | None = None
    session_id: str | None = None
    key_id: str | None = None
    personal_team_id: str | None = None
    is_staff: bool = False
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
        """The team a request is about: the one it names, or else the caller's personal one."""
        if chosen is not None:
            return chosen
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
