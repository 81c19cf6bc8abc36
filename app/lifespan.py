"""What opens, in which order, and what runs in the background.

A background task that dies takes the process with it. Order: keys, database pool, the listeners of the log,
the relay's tasks; and at the end listeners, the jobs under way, tasks, pool.
"""

import asyncio
import gc
import logging
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, nullcontext
from typing import Any, Final

from litestar import Litestar

from app import secrets
from app.adapters import sentry
from app.adapters.pwned import BASE, Pwned
from app.background import copying, equip, write_links
from app.config import Config, relying_party
from app.herald import Herald
from app.metrics.counting import count_audit_rows
from app.metrics.gauges import Gauges
from app.pipeline import positions
from app.pipeline.leases import Leases
from app.pipeline.limiter import Limiter
from app.pipeline.limits import Commands
from app.pipeline.load import Load
from app.watching import unwatch, watch
from app.worker import GRACE_S, Worker
from channels.emulation import Emulation
from channels.gate import Gate
from channels.live import Live
from channels.relay import Relay
from channels.sweeper import Sweeper
from channels.tasks import end
from channels.watchman import Watchman
from domain import bugs, db, memory, streams
from domain.audit_logs import service as audit_logs
from domain.auth import ceremony, passwords
from domain.teams.denials import denials

log = logging.getLogger("maycole.lifespan")

ROLL_EVERY_S: Final = 3600.0
TRY_AGAIN_AFTER_S: Final = 30.0
FINISH_WITHIN_S: Final = 6.0  # what the worker needs to give back what was not done in its grace
COLLECT_AFTER: Final = (50_000, 20, 20)  # objects; collections of the young; of the middle-aged


class Process:
    """What this process is made of while it runs: kept in `app.state.process`."""

    def __init__(self, config: Config, app: Litestar) -> None:
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
        self.tasks: set[asyncio.Task[None]] = set()
        self.died: str | None = None
        self._stopping = False

    def start(self) -> None:
        self.supervise("the bus reader", self.relay.bus.run_reader)
        self.supervise("the bus publisher", self.relay.bus.run_publisher)
        self.supervise("the relay", self.relay.run)
        self.supervise("the presence keeper", self.relay.presence.run)
        self.supervise("the sweeper", self.sweeper.run)
        self.supervise("the watchman", self.watchman.run)
        self.supervise("the keeper of gauges", self.gauges.run)
        self.supervise("the watch on load", self.load.run)
        self.supervise("the limiter", self.limiter.run)
        self.supervise("the partition keeper", _roll_partitions)
        self.supervise("the herald", self.herald.run)
        self.supervise("the keeper of refusals", denials.run)
        if self.worker is not None:
            self._working = self.supervise("the worker", self.worker.run)

    async def stop(self) -> None:
        self._stopping = True
        if self.worker is not None:
            self.worker.stop()
        if self._working is not None:
            await asyncio.wait({self._working}, timeout=GRACE_S + FINISH_WITHIN_S)
        if left := await end(self.tasks):
            log.error("still at it, and left behind: %s", ", ".join(task.get_name() for task in left))
        await self.relay.bus.close()
        await self.limiter.close()

    def supervise(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        """Run `work` in the background, for as long as the process lives: if it ends, so does the process."""
        task = asyncio.create_task(work(), name=name)
        self.tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        if self._stopping:
            return
        # Serving on without it would be a lie: to die is seen, restarted and mended.
        self.died = task.get_name()
        error = None if task.cancelled() else task.exception()
        log.critical("%s died: this process stops", self.died, exc_info=error)
        if error is not None:
            bugs.report(error, where=self.died)
        signal.raise_signal(signal.SIGTERM)


@asynccontextmanager
async def lifespan(app: Litestar) -> AsyncIterator[None]:
    """From the first connection to the last."""
    config: Config = app.state.config
    assert config.database_url is not None, "the shell checks what is needed (app/config.py)"
    secrets.install(config)
    ceremony.install(*relying_party(config))
    write_links(config)
    traces = watch(config)
    tracker = sentry.installed(config)
    await db.open_pool(config.database_url)
    if config.runs_jobs:
        equip(config)
    process = Process(config, app)
    app.state.process = process
    app.state.live = process.live
    pwned = Pwned(app.state.outgoing, config.breaches_base or BASE) if config.breaches_asked else None
    passwords.ask_also(pwned.knows if pwned else None)
    heard = [memory.listen, process.relay.announce, positions.collect, count_audit_rows]
    streams.listeners.extend(heard)
    async with copying(config, app.state.outgoing) if config.runs_jobs else nullcontext():
        try:
            await process.live.emulation.listen()
            process.start()
            _spare_the_collector()
            yield
        finally:
            for listener in heard:
                streams.listeners.remove(listener)
            await process.stop()
            await denials.write_soon()
            await app.state.oauth.close()
            if pwned is not None:
                await pwned.close()
            await db.close_pool()
            await unwatch(traces)
            await sentry.flushed(tracker)


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
