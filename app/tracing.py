"""OpenTelemetry: one trace from a request to the frames that its change becomes, on every process.

    GET /api/…                  app/pipeline/seen.py; a proxy's `traceparent` is honoured, others' are linked
      transaction               domain/db.py
        SELECT, INSERT, COMMIT  domain/connections.py: the statement, without what it was given
      announce                  channels/bus.py; the traceparent goes along
        deliver                 channels/bus.py on each process that hears it, until the frame is written
      job …                     domain/jobs.py, later

Imported only where OTEL_EXPORTER_OTLP_ENDPOINT is set. The SDK reads its other variables itself (headers,
sampler, service name, limits); spans leave by a thread of theirs, and those that cannot be sent are dropped.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context, get_current
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from domain.tracing import TRACEPARENT

log = logging.getLogger("maycole.tracing")

SQL_CHARS_MAX: Final = 2000
CLOSE_WITHIN_S: Final = 3.0
_w3c: Final = TraceContextTextMapPropagator()


class OpenTelemetry:
    """A Tracer of domain/tracing.py."""

    def __init__(self) -> None:
        # What OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES say is heard, too, and wins.
        named = Resource({SERVICE_NAME: "maycole"}).merge(Resource.create())
        if named.attributes.get(SERVICE_NAME, "").startswith("unknown_service"):  # type: ignore[union-attr]  # it is text
            named = named.merge(Resource({SERVICE_NAME: "maycole"}))
        # Whoever made it closes it; at the interpreter's exit it would wait for a collector without end.
        self._provider = TracerProvider(resource=named, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("maycole")

    @contextmanager
    def span(self, name: str, traceparent: str | None, follows: str | None) -> Iterator[None]:
        with self._tracer.start_as_current_span(
            name,
            context=_from(traceparent),
            links=_linked(follows),
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            # What is raised may quote what somebody sent: its kind is told, its words are not.
            try:
                yield
            except Exception as error:
                span.set_status(Status(StatusCode.ERROR, type(error).__name__))
                raise

    def request(self, method: str, route: str, status: int) -> None:
        span = trace.get_current_span()
        span.update_name(f"{method} {route}")
        span.set_attributes(
            {"http.request.method": method, "http.route": route, "http.response.status_code": status}
        )
        if status >= 500:
            span.set_status(Status(StatusCode.ERROR))

    def traceparent(self) -> str | None:
        if not trace.get_current_span().get_span_context().trace_flags.sampled:
            return None
        carrier: dict[str, str] = {}
        _w3c.inject(carrier)
        return carrier.get(TRACEPARENT)

    def statement(self, kind: str, sql: str, seconds: float, error: BaseException | None) -> None:
        if not trace.get_current_span().get_span_context().is_valid:
            return  # what runs by itself, such as a sweeper, would be a trace every second
        ended = time.time_ns()
        span = self._tracer.start_span(
            kind,
            kind=SpanKind.CLIENT,
            start_time=ended - int(seconds * 1e9),
            attributes={"db.system.name": "postgresql", "db.query.text": sql[:SQL_CHARS_MAX]},
        )
        if error is not None:
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))
        span.end(ended)

    def delivered(self, channel: str, offset: int, traceparent: str) -> None:
        context = _from(traceparent)
        announced = trace.get_current_span(context).get_span_context()
        if context is None or not announced.is_valid:
            return
        span = self._tracer.start_span(
            "deliver",
            context=context,
            kind=SpanKind.CONSUMER,
            # Several entries leave as one frame, and one entry on many processes: it follows, it is no part.
            links=[Link(announced)],
            attributes={"maycole.channel": channel, "maycole.offset": offset},
        )
        # The hub has been told already, so what it writes at the end of this turn is written before this.
        asyncio.get_running_loop().call_soon(span.end)

    def close(self) -> None:
        """Send what is left, within CLOSE_WITHIN_S: a collector that does not answer keeps nobody here."""
        # The SDK waits for half a minute and takes no other bound; a daemon does not outlive the process.
        closing = threading.Thread(target=self._provider.shutdown, name="the end of traces", daemon=True)
        closing.start()
        closing.join(CLOSE_WITHIN_S)
        if closing.is_alive():
            log.warning("the last spans are lost: the collector did not take them in %g s", CLOSE_WITHIN_S)


def _from(traceparent: str | None) -> Context | None:
    """The context that a traceparent names; None, which is the current one, for none."""
    if traceparent is None:
        return None
    return _w3c.extract({TRACEPARENT: traceparent}, context=get_current())


def _linked(follows: str | None) -> list[Link]:
    if follows is None:
        return []
    given = trace.get_current_span(_w3c.extract({TRACEPARENT: follows}, context=Context()))
    return [Link(given.get_span_context())] if given.get_span_context().is_valid else []
