"""Step 3: whether there is room for one more request (app/pipeline/policies.py), and what is said of it.

Who says who they are is asked first, since their budget is theirs; whoever cannot be believed pays from that
of their address, as everybody does who has not said who they are.
"""

import math
from typing import Any, Final

from litestar import Request

from app.pipeline import policies
from app.pipeline.identity import identify
from app.pipeline.leases import Leases
from app.pipeline.limiter import Verdict
from app.pipeline.policies import Limits, Policy
from channels.budget import Taken
from channels.nobody import nobody
from domain.actor import Actor, source
from domain.auth import throttle
from domain.auth.tokens import Claims
from domain.errors import DomainError, Forbidden, Malformed, RateLimited, Unauthenticated

HEADER: Final = b"ratelimit"
POLICY_HEADER: Final = b"ratelimit-policy"


async def admit(request: Request[Any, Any, Any]) -> None:
    """A before_request hook: who is asking, and whether they may ask now.

    Raises RateLimited; and what `identify` raises, which has cost the address one of its public requests.
    """
    names = policies.of(request.route_handler)
    refusal: DomainError | None = None
    try:
        await identify(request)
    except (Unauthenticated, Forbidden, Malformed) as refused:
        refusal = refused
    caller: Actor | None = request.scope["state"].get("caller")
    if refusal is not None and caller is None:
        names = ("public",)
    if names:
        await _draw(request, names, caller or nobody(request.scope))
    if refusal is not None:
        raise refusal


def headers(scope: Any) -> list[tuple[bytes, bytes]]:
    """RateLimit-Policy and RateLimit (draft-ietf-httpapi-ratelimit-headers-10), of an answer that has them.

    `q` in any `w` seconds; `r` are left, and in `t` seconds there are more.
    """
    drawn: tuple[dict[str, Policy], Verdict] | None = scope.get("state", {}).get("drawn")
    if drawn is None:
        return []
    named, verdict = drawn
    said = [f'"{name}";q={policy.limit};w={policy.window_s}' for name, policy in named.items()]
    left = [
        f'"{name}";r={room.left};t={math.ceil(room.grows_in_s)}'
        for name, room in zip(named, verdict.rooms, strict=True)
    ]
    return [(POLICY_HEADER, ", ".join(said).encode()), (HEADER, ", ".join(left).encode())]


class Commands:
    """The budget that commands of open connections draw on (channels/budget.py): the same one."""

    def __init__(self, leases: Leases, limits: Limits) -> None:
        self._leases = leases
        self._authenticated = {"authenticated": limits.policies["authenticated"]}
        self._public = {"public": limits.policies["public"]}

    async def take(self, claims: Claims, wanted: int) -> Taken:
        return await self._taken(
            self._authenticated, _caller(claims.sub, claims.sid if claims.key is not None else None), wanted
        )

    async def failed(self, address: str | None) -> Taken:
        return await self._taken(self._public, throttle.network(source(address)), 1)

    async def _taken(self, named: dict[str, Policy], counted: str, wanted: int) -> Taken:
        [(name, policy)] = named.items()
        verdict = await self._leases.take([(f"{name}:{counted}", policy)], wanted)
        return Taken(verdict.granted, _wait_s(verdict.rooms[0].grows_in_s), (named, verdict))


async def _draw(request: Request[Any, Any, Any], names: tuple[str, ...], actor: Actor) -> None:
    state = request.app.state
    known: Limits = state.limits
    leases: Leases = state.process.leases
    named = {name: known.policies[name] for name in names}
    verdict = await leases.take(
        [(f"{name}:{_counted(policy, actor)}", policy) for name, policy in named.items()]
    )
    request.scope["state"]["drawn"] = named, verdict
    if not verdict.granted:
        full = {
            name: room.grows_in_s for name, room in zip(named, verdict.rooms, strict=True) if not room.left
        }
        slowest = max(full, key=full.__getitem__)
        raise RateLimited(
            "That is too much for now: wait before the next request.",
            policy=slowest,
            retryAfter=_wait_s(full[slowest]),
        )


def _wait_s(grows_in_s: float) -> int:
    """What is said of that many seconds: whole ones."""
    return max(1, math.ceil(grows_in_s))


def _counted(policy: Policy, actor: Actor) -> str:
    if policy.by == "address":
        return throttle.network(actor.ip)
    return _caller(actor.user, actor.key_id if policy.by == "caller" else None)


def _caller(user_id: str, key_id: str | None) -> str:
    """A key has a budget of its own."""
    return key_id if key_id is not None else user_id
