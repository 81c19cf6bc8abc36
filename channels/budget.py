"""The budget: how much clients may ask of open connections. It is the one that their requests draw on, too.

What is over it is refused for now: error 111, which SDKs try again after a pause. A token that is no good
costs the address that it came from; where that has nothing left the connection is closed with 3013, after
which SDKs come back later. Tokens that are good are let in from wherever they come: 10,000 clients behind one
address, all cut off at once, come back at once.
"""

from typing import Any, Final, NamedTuple, Protocol

from channels import rpc
from channels.protocol import Command, HangUp, Refused
from domain import measures
from domain.auth.tokens import Claims
from domain.errors import RateLimited

AT_ONCE_MAX: Final = 64
# Not by their names. An rpc is counted by the REST route that it asks for, and here only where no route does;
# who leaves a channel has paid for it by joining, and pays only where there is none to leave.
FREE: Final = frozenset({"rpc", "unsubscribe"})


class Taken(NamedTuple):
    """How many were let in, and after how many seconds there is room for another one.

    `drawn` is what headers of an answer over HTTP are made of (app/pipeline/limits.py).
    """

    granted: int
    wait_s: int = 1
    drawn: Any = None


class NothingLeft(HangUp):
    """An address has shown too many bad tokens: 3013."""

    def __init__(self, taken: Taken) -> None:
        super().__init__(3013)
        self.taken = taken


def told(taken: Taken, state: dict[str, Any]) -> None:
    """The answer to the request with this state says how the budget stands."""
    state[rpc.COUNTED] = taken.drawn


def too_many(policy: str, taken: Taken, state: dict[str, Any]) -> RateLimited:
    """Where the answer is one of HTTP, to the request with this state, and is counted as such."""
    told(taken, state)
    said = "That is too much for now: try again in a while."
    return RateLimited(said, policy=policy, retryAfter=taken.wait_s)


class Budget(Protocol):
    """What counts (app/pipeline/limits.py)."""

    async def take(self, claims: Claims, wanted: int) -> Taken:
        """So many commands this user or key may carry out now, at most `wanted`."""

    async def failed(self, address: str | None) -> Taken:
        """Count somebody who could not say who they are; nothing is granted where there was no room."""


class Gate(Protocol):
    """The part of channels/gate.py that knows tokens."""

    async def claims(self, token: str, via: rpc.Scope) -> Claims: ...


async def introduced(gate: Gate, budget: Budget, token: str, via: rpc.Scope) -> Claims:
    """Whom a token names. Raises as Gate.claims does, and NothingLeft."""
    try:
        return await gate.claims(token, via)
    except (HangUp, Refused) as failure:
        client = via.get("client")
        taken = await budget.failed(client[0] if client else None)
        # A token that has run out is said to have: with a new one the client is let in.
        if not taken.granted and not (isinstance(failure, Refused) and failure.code == 109):
            raise NothingLeft(taken) from failure
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
            taken = await self._budget.take(claims, 1 + sum(map(_costs, rest[:AT_ONCE_MAX])))
            self._paid = taken.granted
        if not self._paid:
            measures.count("rate_limited", "authenticated")
            raise Refused(111)
        self._paid -= 1


def _costs(command: Command) -> bool:
    request = command.request()
    return command.id != 0 and request is not None and request[0] not in FREE
