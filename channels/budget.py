"""The budget: how much clients may ask of open connections. It is the one that their requests draw on, too.

What is over it is refused for now: error 111, which SDKs try again after a pause. A token that is no good
costs the address that it came from; where that has nothing left the connection is closed with 3013, after
which SDKs come back later. Tokens that are good are let in from wherever they come: 10,000 clients behind one
address, all cut off at once, come back at once.
"""

from typing import Any, Final, Protocol

from channels import rpc
from channels.protocol import Command, HangUp, Refused
from domain import measures
from domain.auth.tokens import Claims
from domain.errors import RateLimited

AT_ONCE_MAX: Final = 64
RETRY_AFTER_S: Final = 1
# Not by their names. An rpc is counted by the REST route that it asks for, and here only where no route does;
# who leaves a channel has paid for it by joining, and pays only where there is none to leave.
FREE: Final = frozenset({"rpc", "unsubscribe"})


def too_many(policy: str) -> RateLimited:
    """Where the answer is one of HTTP, and is counted as such."""
    said = "That is too much for now: try again in a while."
    return RateLimited(said, policy=policy, retryAfter=RETRY_AFTER_S)


class Budget(Protocol):
    """What counts (app/pipeline/limits.py)."""

    async def take(self, claims: Claims, wanted: int) -> int:
        """How many commands this user or key may carry out now, at most `wanted`."""

    async def failed(self, address: str | None) -> bool:
        """Count somebody who could not say who they are; whether there was room for that."""


class Gate(Protocol):
    """The part of channels/gate.py that knows tokens."""

    async def claims(self, token: str, via: rpc.Scope) -> Claims: ...


async def introduced(gate: Gate, budget: Budget, token: str, via: rpc.Scope) -> Claims:
    """Whom a token names. Raises as Gate.claims does, and HangUp 3013."""
    try:
        return await gate.claims(token, via)
    except (HangUp, Refused) as failure:
        client = via.get("client")
        has_room = await budget.failed(client[0] if client else None)
        # A token that has run out is said to have: with a new one the client is let in.
        if not has_room and not (isinstance(failure, Refused) and failure.code == 109):
            raise HangUp(3013) from failure
        raise


class Allowance:
    """What of one frame is paid for; its commands are taken together, so that Redis is asked once."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._paid = 0

    def begin(self) -> None:
        """A frame: what was paid for another one is not for this one."""
        self._paid = 0

    async def spend(self, claims: Claims, name: str, rest: Any = ()) -> None:
        """For a command of this name; `rest` are those behind it in the frame. Raises Refused 111."""
        if name not in FREE:
            await self.pay(claims, rest)

    async def pay(self, claims: Claims, rest: Any = ()) -> None:
        """For a command, whatever its name. Raises Refused 111."""
        if not self._paid:
            self._paid = await self._budget.take(claims, 1 + sum(map(_costs, rest[:AT_ONCE_MAX])))
        if not self._paid:
            measures.count("rate_limited", "authenticated")
            raise Refused(111)
        self._paid -= 1


def _costs(command: Command) -> bool:
    request = command.request()
    return command.id != 0 and request is not None and request[0] not in FREE
