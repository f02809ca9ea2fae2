"""A collector of OpenTelemetry traces: what it has came by OTLP over HTTP."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass
class Collector:
    """Takes traces, and keeps each span under its id: one that comes twice has to be the same."""

    url: str = ""
    spans: dict[bytes, Span] = field(default_factory=dict)
    about: dict[str, str] = field(default_factory=dict)

    def take(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.about = {one.key: one.value.string_value for one in resource.resource.attributes}
            for span in (span for scope in resource.scope_spans for span in scope.spans):
                assert self.spans.setdefault(span.span_id, span) == span

    def named(self, name: str) -> list[Span]:
        return sorted((span for span in self.spans.values() if span.name == name), key=lambda s: s.start_time_unix_nano)

    def path(self, span: Span) -> list[str]:
        above = self.path(self.spans[span.parent_span_id]) if span.parent_span_id else []
        return [*above, span.name]

    def settled(self) -> bool:
        """Tell whether everything that is to come has come: each span's parent, too."""
        return bool(self.spans) and all(s.parent_span_id in {b"", *self.spans} for s in self.spans.values())


@contextmanager
def collecting() -> Iterator[Collector]:
    """Give a collector that listens."""
    taking = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            taking.take(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        taking.url = f"http://127.0.0.1:{server.server_port}/v1/traces"
        yield taking
        server.shutdown()


def told(span: Span, key: str) -> str:
    """Return a text that a span has beside its name, or an empty one."""
    return next((one.value.string_value for one in span.attributes if one.key == key), "")
