"""What opens, in which order, and what runs in the background.

A background task that dies takes the process with it (app/supervise.py). Order: keys, database pool, the
listeners of the log, the relay's tasks; and at the end the jobs under way, refusals to be written, what is to
be announced of both, tasks, listeners, pool.
"""

import asyncio
import gc
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final

from litestar import Litestar

from app import event_loop, secrets
from app.adapters import sentry
from app.adapters.pwned import BASE, Pwned
from app.background import copying
from app.config import Config, relying_party
from app.equipment import equip, write_links
from app.herald import Herald
from app.metrics.gauges import Gauges
from app.pipeline import positions
from app.pipeline.leases import Leases
from app.pipeline.limiter import Limiter
from app.pipeline.limits import Commands
from app.pipeline.load import Load
from app.supervise import Supervision
from app.watching import unwatch, watch
from app.worker import GRACE_S, Worker
from channels.emulation import Emulation
from channels.gate import Gate
from channels.live import Live
from channels.relay import Relay
from channels.sweeper import Sweeper
from channels.watchman import Watchman
from domain import db, memory, streams
from domain.audit_logs import service as audit_logs
from domain.auth import ceremony, passwords
from domain.teams.denials import denials

log = logging.getLogger("maycole.lifespan")

ROLL_EVERY_S: Final = 3600.0
TRY_AGAIN_AFTER_S: Final = 30.0
FINISH_WITHIN_S: Final = 6.0  # what the worker needs to give back what was not done in its grace
COLLECT_AFTER: Final = (50_000, 20, 20)  # objects; collections of the young; of the middle-aged


class Process(Supervision):
    """What this process is made of while it runs: kept in `app.state.process`."""

    def __init__(self, config: Config, app: Litestar) -> None:
        # From where whoever stops a server is heard as well: it stops in the same good order.
        super().__init__(stop=partial(signal.raise_signal, signal.SIGTERM))
        assert config.database_url is not None, "the shell checks what is needed (app/config.py)"
        assert config.redis_url is not None, "the shell checks what is needed (app/config.py)"
        gate: Gate = app.state.gate
        self.relay = Relay(config.redis_url, gate.kind_of)
        emulation = Emulation(self.relay)
        self.load: Load = app.state.load
        self.limiter = Limiter(config.redis_url)
        self.leases = Leases(self.limiter)
        budget = Commands(self.leases, app.state.limits)
        origins, most = frozenset(config.allowed_origins), app.state.limits.connections_per_user
        self.live = Live(self.relay, gate, app, emulation, origins, budget, most)
        self.sweeper = Sweeper(config.database_url, self.relay.bus)
        self.watchman = Watchman(self.live.connections, gate)
        self.herald = Herald(app.state.outgoing)
        self.gauges = Gauges(self.live, app.state.outgoing)
        self.worker = Worker(config.database_url) if config.runs_jobs else None
        self._working: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.supervise("the bus reader", self.relay.bus.run_reader)
        self.supervise("the bus publisher", self.relay.bus.run_publisher)
        self.supervise("the relay", self.relay.run)
        self.supervise("the presence keeper", self.relay.presence.run)
        self.supervise("the keeper of activity", partial(self.relay.activity.run, self.live.open_of))
        self.supervise("the sweeper", self.sweeper.run)
        self.supervise("the watchman", self.watchman.run)
        self.supervise("the keeper of gauges", self.gauges.run)
        self.supervise("the watch on the event loop", partial(event_loop.watch, self.load.hear))
        self.supervise("the limiter", self.limiter.run)
        self.supervise("the partition keeper", _roll_partitions)
        self.supervise("the herald", self.herald.run)
        self.supervise("the keeper of refusals", denials.run)
        if self.worker is not None:
            self._working = self.supervise("the worker", self.worker.run)

    def stop_with(self, stack: AsyncExitStack) -> None:
        """Stop in this order when the stack unwinds, whichever of it fails; read it from below."""
        stack.push_async_callback(self.limiter.close)
        stack.push_async_callback(self.relay.bus.close)
        stack.push_async_callback(self.end)
        stack.push_async_callback(self.relay.bus.said)
        stack.push_async_callback(denials.write_soon)
        stack.push_async_callback(self._finish_jobs)

    async def _finish_jobs(self) -> None:
        self.let_go()
        if self.worker is not None:
            self.worker.stop()
        if self._working is not None:
            await asyncio.wait({self._working}, timeout=GRACE_S + FINISH_WITHIN_S)


@asynccontextmanager
async def lifespan(app: Litestar) -> AsyncIterator[None]:
    """From the first connection to the last. Each thing is closed in its turn, also where the start fails."""
    config: Config = app.state.config
    assert config.database_url is not None, "the shell checks what is needed (app/config.py)"
    async with AsyncExitStack() as stack:
        stack.push_async_callback(app.state.oauth.close)
        secrets.install(config)
        ceremony.install(*relying_party(config))
        write_links(config)
        stack.push_async_callback(sentry.flushed, sentry.installed(config))
        stack.push_async_callback(unwatch, watch(config))
        stack.push_async_callback(db.close_pool)
        await db.open_pool(config.database_url)
        if config.runs_jobs:
            equip(config)
            await stack.enter_async_context(copying(config, app.state.outgoing))
        if config.breaches_asked:
            pwned = Pwned(app.state.outgoing, config.breaches_base or BASE)
            stack.push_async_callback(pwned.close)
            passwords.ask_also(pwned.knows)
            stack.callback(passwords.ask_also, None)
        process = Process(config, app)
        app.state.process = process
        app.state.live = process.live
        # They hear until the end what jobs and refusals commit.
        for listener in (memory.listen, process.relay.announce, positions.collect):
            streams.listeners.append(listener)
            stack.callback(streams.listeners.remove, listener)
        process.stop_with(stack)
        await process.live.emulation.listen()
        await process.limiter.look()
        process.start()
        _spare_the_collector()
        yield


def _spare_the_collector() -> None:
    # A sixth of what a connect costs was the collector, going through what was imported again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


async def _roll_partitions() -> None:
    while True:
        try:
            await streams.roll_partitions()
            await audit_logs.roll_partitions()
            wait = ROLL_EVERY_S
        except db.UNREACHABLE as error:
            log.warning("cannot roll partitions now: %s", error)
            wait = TRY_AGAIN_AFTER_S
        await asyncio.sleep(wait)
