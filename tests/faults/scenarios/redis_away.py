"""Redis is killed, frozen, flushed, and hangs up on everybody who listens; changes go on and are heard."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import Final

from tests.faults.field import Field
from tests.faults.scenario import Outcome, Play, Scale

AWAY_S: Final = (0.3, 3.0, 15.0, 60.0)


async def run(field: Field, scale: Scale) -> Outcome:
    """One fault after another while shops trade; in each everybody must hear what is written meanwhile."""
    away = [seconds for seconds in AWAY_S if seconds <= scale.seconds(60.0, 3.0)]
    frozen_s = scale.seconds(15.0, 3.0)
    async with Play(field) as play:
        await play.open(scale.of(10, 3), watchers=2)
        async with play.trading(writers=4, pause_s=0.1):
            for seconds in away:
                await _during(play, seconds, field.kill_redis)
                await field.start_redis()
                await _heard_again(play)
            await _during(play, frozen_s, _sent(field, signal.SIGSTOP))
            field.signal_redis(signal.SIGCONT)
            await _heard_again(play)
            for _ in range(scale.of(5, 1)):
                assert (await field.redis("FLUSHALL")).startswith(b"+OK")
                await _heard_again(play)
                hung_up = await field.redis("CLIENT", "KILL", "TYPE", "pubsub")
                assert int(hung_up[1:]) >= len(field.apps), "somebody must listen for this to mean anything"
                await _heard_again(play)
        verdict = await play.finish()
        said = ", ".join(f"{seconds:g} s" for seconds in away)
        faults = f"away {said}; SIGSTOP {frozen_s:g} s; FLUSHALL; CLIENT KILL TYPE pubsub"
        broken = play.trade.unlike(200, 409)
        if play.comebacks():
            broken.append(f"clients were cut off {play.comebacks()} times")
        return Outcome("redis away", faults, verdict, [play.trade.said(), "bar for staleness 1 s"], broken)


def _sent(field: Field, number: signal.Signals) -> Callable[[], Awaitable[None]]:
    async def send() -> None:
        field.signal_redis(number)

    return send


async def _during(play: Play, seconds: float, fault: Callable[[], Awaitable[None]]) -> None:
    """The fault, for that long; changes go on meanwhile, and after a longer one everybody has heard some."""
    await fault()
    await asyncio.sleep(seconds)
    await play.changes(5)
    if seconds >= 3:
        for app in play.field.apps:
            await play.field.until_status(app, "degraded")
        assert not (late := await play.level()), f"updates must go on without Redis: {late}"


async def _heard_again(play: Play) -> None:
    """All apps hear Redis, and everybody is level."""
    for app in play.field.apps:
        await play.field.until_status(app, "ok")
    await play.changes(5)
    assert not (late := await play.level()), f"Redis is back: {late}"
