"""Fan-out: deliveries per second of server CPU, one channel with many followers, beside peers and limits.

The product is measured from Redis on: real entries are committed to its log by this process and announced
through Redis, and the server under measure hears, orders, frames and writes them. All others get messages
of the same size from memory and have neither log nor rights. The client (load_client.py) is the same.

    as fast as it goes   many messages on their way: who can may put them together
    one at a time        the next message when every connection has the last one: nothing can be together
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Final

from tests.bench.harness import Figure, Missing, product, raise_limits, table
from tests.bench.peers import c_loop, nats, nchan, uvloop_loop
from tests.bench.sides import PAYLOAD_BYTES, STEP, Round, Side, product_side

FOLLOWERS: Final = 1_000
ROUNDS: Final = 5
GROWTH: Final = (10, 100, 1_000, 10_000)
GROWTH_ROUNDS: Final = 3
WARM_UP: Final = 1
FAST, ALONE = "as fast as it goes", "one at a time"
OURS, C, UVLOOP, NATS, NCHAN = "Maycole", "bare C loop", "bare uvloop loop", "NATS", "nchan"
PEERS: Final[dict[str, Callable[[int], AbstractAsyncContextManager[Side]]]] = {
    C: c_loop.side,
    UVLOOP: uvloop_loop.side,
    NATS: nats.side,
    NCHAN: nchan.side,
}
# Deliveries in a round, about a second of CPU each. The others write once for each delivery.
DELIVERIES: Final = {OURS: 6_000_000, NATS: 700_000}
DELIVERIES_ONE_WRITE_EACH: Final = 200_000
MESSAGES_MAX: Final = {FAST: 8_192, ALONE: 400}
MESSAGES_MIN: Final = 16
AT_MOST_S: Final = 290.0

Rounds = dict[str, dict[str, list[Round]]]  # by figure and side


async def measure() -> None:
    """One channel with FOLLOWERS, beside all peers. Raises Broken where anything was lost or out of order."""
    async with asyncio.timeout(AT_MOST_S):
        rounds = await _measure(FOLLOWERS, PEERS, ROUNDS)
    print(f"fan-out, 1 channel x {FOLLOWERS:,} followers x {PAYLOAD_BYTES} bytes, through Redis")
    print(f"deliveries per second of server CPU, median of {ROUNDS} interleaved rounds (least to most)\n")
    for name, sides in rounds.items():
        rows = [(name, "", "of it, Maycole's")]
        ours = [each.rate for each in sides[OURS]]
        for side, each in sides.items():
            rates = [one.rate for one in each]
            share = Figure.ratio(ours, rates).said("{:.2f}") if side != OURS else ""
            rows.append((f"  {side}", Figure(rates).said("{:,.0f}"), share))
        table(rows)
        print()
    per_frame = [one.deliveries / one.frames for one in rounds[FAST][OURS]]
    print(f"Maycole's messages per frame, as fast as it goes: {Figure(per_frame).said('{:.0f}').strip()}")
    for name, sides in rounds.items():
        beside = [one.beside_s / one.cpu_s for one in sides[OURS]]
        print(f"Redis' CPU beside Maycole's, {name}: {Figure(beside).said('{:.3f}').strip()}")
    print("every connection received every message once and in order")


async def growth() -> None:
    """The cost of a delivery from 10 to 10,000 followers. Raises Broken as `measure` does."""
    most = raise_limits()
    peers = {name: PEERS[name] for name in (C, NATS)}
    print("fan-out as the followers of one channel grow, through Redis")
    print(f"microseconds of server CPU for a delivery, median of {GROWTH_ROUNDS} rounds (least to most)\n")
    _row("", "followers", OURS, *peers)
    for followers in GROWTH:
        if followers + 500 > most:
            print(f"{followers:,} need more open files than the {most:,} that are allowed here")
            continue
        async with asyncio.timeout(AT_MOST_S):
            rounds = await _measure(followers, peers, GROWTH_ROUNDS)
        for name, sides in rounds.items():
            cells = [_cost(sides[side]) if side in sides else "-" for side in (OURS, *peers)]
            _row(name, f"{followers:,}", *cells)
    print("\nevery connection received every message once and in order")


def _row(*cells: str) -> None:
    """A line of the table, as soon as it is known: the last ones take long."""
    print(
        "".join(f"{cell:<28}" if place > 1 else f"{cell:<20}" for place, cell in enumerate(cells)), flush=True
    )


def _cost(rounds: list[Round]) -> str:
    return Figure([1e6 / one.rate for one in rounds]).said("{:.2f}")


async def _measure(
    followers: int, peers: Mapping[str, Callable[[int], AbstractAsyncContextManager[Side]]], count: int
) -> Rounds:
    rounds: Rounds = {FAST: {}, ALONE: {}}
    async with _sides(followers, peers) as sides:
        for number in range(WARM_UP + count):
            for name, figures in rounds.items():
                for side, each in sides.items():
                    done = await each.round(_messages(side, name, followers), one_at_a_time=name == ALONE)
                    if number >= WARM_UP:
                        figures.setdefault(side, []).append(done)
    return rounds


@contextlib.asynccontextmanager
async def _sides(
    followers: int, peers: Mapping[str, Callable[[int], AbstractAsyncContextManager[Side]]]
) -> AsyncIterator[dict[str, Side]]:
    """The product, and every peer that is there."""
    async with contextlib.AsyncExitStack() as stack:
        served = await stack.enter_async_context(product())
        sides = {OURS: await stack.enter_async_context(product_side(served, followers))}
        for name, side in peers.items():
            try:
                sides[name] = await stack.enter_async_context(side(followers))
            except Missing as missing:
                print(f"without {name}: {missing}\n")
        yield sides


def _messages(side: str, name: str, followers: int) -> int:
    deliveries = (
        DELIVERIES.get(side, DELIVERIES_ONE_WRITE_EACH) if name == FAST else DELIVERIES_ONE_WRITE_EACH
    )
    messages = max(MESSAGES_MIN, min(MESSAGES_MAX[name], deliveries // followers))
    return messages // STEP * STEP if messages > STEP else messages
