"""Who watches a process: what counts, what traces, and where a worker shows what it has counted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Protocol

from prometheus_client import start_http_server

from app import event_loop
from app.adapters.outgoing import Outgoing
from app.config import Config, ConfigError
from app.metrics.counting import Prometheus
from app.metrics.gauges import Gauges
from app.metrics.table import REGISTRY
from app.supervise import Supervision
from domain import measures, tracing


class Traces(Protocol):
    """What exports spans (app/tracing.py)."""

    def close(self) -> None:
        """Send what is left. Blocks."""


def watch(config: Config) -> Traces | None:
    """Count from now on, and trace where the configuration says where to. Raises ConfigError."""
    measures.install(Prometheus())
    if config.eyes.traces_to is None:
        return None
    try:
        from app.tracing import OpenTelemetry  # only who traces needs it, and its import takes its time
    except ImportError as missing:
        raise ConfigError("OTEL_EXPORTER_OTLP_ENDPOINT is set: pip install 'maycole[traces]'") from missing
    traces = OpenTelemetry()
    tracing.install(traces)
    return traces


async def unwatch(traces: Traces | None) -> None:
    tracing.install(None)
    if traces is not None:
        await asyncio.to_thread(traces.close)


@asynccontextmanager
async def watching(config: Config, outgoing: Outgoing, supervision: Supervision) -> AsyncIterator[None]:
    """All of it until the block ends, for a process that serves no API. Raises ConfigError, OSError."""
    async with AsyncExitStack() as stack:
        stack.push_async_callback(unwatch, watch(config))
        gauges = Gauges(None, outgoing)
        await stack.enter_async_context(supervision.beside("the keeper of gauges", gauges.run))
        await stack.enter_async_context(supervision.beside("the watch on the event loop", event_loop.watch))
        if config.eyes.metrics_listen is not None:
            host, port = config.eyes.metrics_listen
            shown, _ = start_http_server(port, addr=host, registry=REGISTRY)
            stack.callback(shown.server_close)
            stack.callback(shown.shutdown)
        yield
