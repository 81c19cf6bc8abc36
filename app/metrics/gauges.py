"""Gauges: what is, as of now. Looked at every LOOK_EVERY_S, and when this process is scraped."""

import asyncio
import gc
import logging
import os
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, get_args

from app.adapters.outgoing import Outgoing
from app.logs import Handler
from app.metrics.table import COUNTERS, GAUGE
from channels.bus import GONE
from channels.live import Live
from domain import db, job_store
from domain.health import State

log = logging.getLogger("maycole.metrics")

LOOK_EVERY_S: Final = 0.5
ASK_WITHIN_S: Final = 2.0
BREAKER: Final[tuple[State, ...]] = get_args(State)
STATES: Final = ("queued", "waiting", "running", "parked")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
UNKNOWN: Final = float("nan")


class Gauges:
    """Of one process. `live` is None in a worker, which has no connections."""

    def __init__(self, live: Live | None, outgoing: Outgoing) -> None:
        self._live = live
        self._outgoing = outgoing
        self._seen: dict[tuple[str, ...], float] = {}
        self._paused_at = 0.0
        GAUGE["info"].labels(version("maycole")).set(1)
        GAUGE["processes"].set(1)
        # What an alert waits for begins at nought: an increase is seen only of what was there before.
        COUNTERS["problems"].labels("internal_error")

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        gc.callbacks.append(self._collecting)
        try:
            while True:
                await asyncio.sleep(LOOK_EVERY_S)
                self.look()
        finally:
            gc.callbacks.remove(self._collecting)

    def look(self) -> None:
        """Set what can be seen from here; nothing is waited for."""
        self._up_to("process_cpu_seconds", time.process_time())
        GAUGE["process_resident_bytes"].set(_resident_bytes())
        for standing in self._outgoing.standings():
            for state in BREAKER:
                GAUGE["breaker_state"].labels(standing.name, state).set(state == standing.state)
        if (handler := _handler()) is not None:
            self._up_to("log_lines_dropped", handler.writer.dropped)
            for level, count in handler.lines.copy().items():
                self._up_to("log_lines", count, level)
        if (pool := db.engine.pool) is not None:
            GAUGE["db_connections"].labels("idle").set(pool.get_idle_size())
            GAUGE["db_connections"].labels("used").set(pool.get_size() - pool.get_idle_size())
        if self._live is not None:
            self._look_at(self._live)

    async def ask(self) -> None:
        """Set what only Postgres and Redis know; where one does not answer, that is unknown."""
        await asyncio.gather(self._ask_for_jobs(), self._ask_for_users())

    async def _ask_for_users(self) -> None:
        if self._live is None:
            return
        try:
            async with asyncio.timeout(ASK_WITHIN_S):
                GAUGE["active_users"].set(await self._live.relay.activity.count())
        except GONE:
            GAUGE["active_users"].set(UNKNOWN)

    async def _ask_for_jobs(self) -> None:
        try:
            async with asyncio.timeout(ASK_WITHIN_S):
                counts = await job_store.counts()
                due_s = await job_store.oldest_due_s()
        except db.UNREACHABLE:
            for state in STATES:
                GAUGE["jobs_kept"].labels(state).set(UNKNOWN)
            GAUGE["jobs_oldest_age_seconds"].set(UNKNOWN)
            return
        for state in STATES:
            GAUGE["jobs_kept"].labels(state).set(sum(of.count for of in counts if of.state == state))
        GAUGE["jobs_oldest_age_seconds"].set(due_s)

    def _look_at(self, live: Live) -> None:
        known = [connection.standing.claims for connection in live.connections]
        GAUGE["connections"].set(len(known))
        GAUGE["connected_users"].set(len({claims.sub for claims in known if claims is not None}))
        GAUGE["channels"].set(len(live.relay.hub.feeds))
        bus = live.relay.bus
        GAUGE["redis_up"].labels("publish").set(bus.speaking)
        GAUGE["redis_up"].labels("subscribe").set(bus.listening)
        self._up_to("announcements_dropped", bus.dropped)

    def _up_to(self, name: str, total: float, *labels: str) -> None:
        """Somebody else counts this: add what came since we looked."""
        counter = COUNTERS[name].labels(*labels) if labels else COUNTERS[name]
        counter.inc(max(0.0, total - self._seen.get((name, *labels), 0.0)))
        self._seen[name, *labels] = total

    def _collecting(self, phase: str, info: dict[str, Any]) -> None:
        if phase == "start":
            self._paused_at = time.perf_counter()
            return
        COUNTERS["gc_collections"].labels(str(info["generation"])).inc()
        if self._paused_at:
            COUNTERS["gc_pause_seconds"].inc(time.perf_counter() - self._paused_at)


def _handler() -> Handler | None:
    return next((found for found in logging.getLogger().handlers if isinstance(found, Handler)), None)


def _resident_bytes() -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES
    except OSError:
        return 0  # only Linux tells it there
