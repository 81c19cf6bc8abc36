"""Standing: who a client says it is, for how long that is good, and what it may do.

What it may do is asked once for all that the client says in one breath, and again when news of its rights is
heard. An access token that runs out is not the end: the client has EXPIRED_FOR_S to bring the next one. An
API key that runs out is.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from channels.budget import Allowance, NothingLeft, introduced
from channels.gate import Rights
from channels.live import Joined, Live
from channels.protocol import ClientInfo, HangUp
from channels.rpc import Scope
from domain import measures
from domain.auth.tokens import LEEWAY_S, Claims

EXPIRED_FOR_S: Final = 25.0
LASTS_S_MAX: Final = 2**31 - 1  # what SDKs can count


class Standing:
    """`claims` and `rights` are None until the client has said who it is."""

    def __init__(self, live: Live, hang_up: Callable[[int], None]) -> None:
        self.claims: Claims | None = None
        self.rights: Rights | None = None
        self.allowance = Allowance(live.budget)
        self._live = live
        self._gate = live.gate
        self._hang_up = hang_up
        self._are_fresh = False
        self._asked = 0
        self._timer: asyncio.TimerHandle | None = None

    async def introduced(self, token: str, via: Scope) -> Claims:
        """Whom a token names (channels/budget.py). Raises Refused, HangUp."""
        try:
            return await introduced(self._gate, self._live.budget, token, via)
        except NothingLeft:
            measures.count("rate_limited", "public")
            raise

    async def admitted(self, token: str, via: Scope, connection: Joined) -> Claims:
        """The same for a connect, which is counted, as is the connection. Raises Refused 111, HangUp 3504."""
        claims = await self.introduced(token, via)
        await self.allowance.spend(claims, "connect")
        self._live.admit(connection, claims.sub)
        return claims

    async def pay(self) -> None:
        """For a command that nothing else has counted. Raises Refused 111."""
        assert self.claims is not None, "asked only of a client that said who it is"
        await self.allowance.pay(self.claims)

    async def rights_of(self, claims: Claims) -> Rights:
        """Raises HangUp where the session is over."""
        rights = await self._gate.rights(claims)
        if rights is None:
            measures.count("auth_failures", "session_over")
            raise HangUp(3500)
        return rights

    def begin(self, claims: Claims, rights: Rights) -> None:
        """The client has shown a token, and this is what it may do now."""
        self.claims, self.rights = claims, rights
        self._are_fresh = True
        self.stop()
        if self.lasts_s is not None:
            after, code = (self.lasts_s, 3500) if claims.key else (self.lasts_s + EXPIRED_FOR_S, 3005)
            self._timer = asyncio.get_running_loop().call_later(after, self._hang_up, code)

    async def renew(self, claims: Claims) -> None:
        """Another token of the same user, or another key in the place of a key. Raises HangUp."""
        before = self.claims
        # What the server joined for a session is not for a key, and stays joined.
        if before is None or claims.sub != before.sub or (claims.key is None) != (before.key is None):
            raise HangUp(3500)
        self.begin(claims, await self.rights_of(claims))

    def ask_again(self) -> None:
        """What was known of its rights may have changed."""
        self._are_fresh = False
        self._asked += 1

    async def fresh(self) -> Rights:
        """What the client may do. Not twice at once, so that older answers replace no newer ones."""
        while not self._are_fresh or self.rights is None:
            assert self.claims is not None, "asked only of a client that said who it is"
            asked = self._asked
            self.rights = await self.rights_of(self.claims)
            self._are_fresh = asked == self._asked
        return self.rights

    @property
    def is_expired(self) -> bool:
        """Whether the token has run out; nothing but a new one is taken then."""
        if self.claims is None or not self.claims.exp:
            return False
        return self.claims.exp + (0 if self.claims.key else LEEWAY_S) < time.time()

    @property
    def lasts_s(self) -> int | None:
        """Seconds for which the token is good, at least 1; None for ever."""
        assert self.claims is not None, "asked only of a client that said who it is"
        if not self.claims.exp:
            return None
        return min(max(1, round(self.claims.exp - time.time())), LASTS_S_MAX)

    def info(self, client_id: str) -> ClientInfo:
        """What others on a channel see of this client."""
        assert self.rights is not None, "asked only of a client that said who it is"
        return ClientInfo(self.rights.identity.user_id, client_id, self._gate.introduction(self.rights))

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
