"""A collector of traces: takes what OpenTelemetry exporters send (OTLP over HTTP), and shows the spans."""

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector:
    """`spans` are all that came, with the name of the service that sent them."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.spans: list[tuple[str, Span]] = []

    def take(self, body: bytes) -> None:
        for of_one in ExportTraceServiceRequest.FromString(body).resource_spans:
            [service] = [
                about.value.string_value
                for about in of_one.resource.attributes
                if about.key == "service.name"
            ]
            self.spans += [(service, span) for scope in of_one.scope_spans for span in scope.spans]

    def of(self, trace_id: str) -> dict[str, tuple[str, Span]]:
        """The spans of one trace, by their names."""
        return {span.name: (service, span) for service, span in self.spans if span.trace_id.hex() == trace_id}

    def following(self, trace_id: str) -> list[Span]:
        """The spans of other traces that are linked to that one."""
        return [
            span
            for _, span in self.spans
            if span.trace_id.hex() != trace_id and trace_id in {link.trace_id.hex() for link in span.links}
        ]


@contextlib.contextmanager
def collecting() -> Iterator[Collector]:
    """A collector on a free port, until the block ends."""

    class Taking(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.take(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *said: object) -> None:
            """Nothing: pytest shows what matters."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Taking)
    collector = Collector(f"http://127.0.0.1:{server.server_port}")
    running = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    running.start()
    try:
        yield collector
    finally:
        server.shutdown()
        running.join()
        server.server_close()
