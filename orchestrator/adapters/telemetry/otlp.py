"""Send spans by OTLP over HTTP. Certificates and headers come by OpenTelemetry's own variables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import islice

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import SpanContext, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

from orchestrator import __version__
from orchestrator.domain.tracing import Span
from orchestrator.errors import Unavailable

#: So many spans are sent at once.
_AT_ONCE = 500


class OtlpTracer:
    """Implements ``ports.Tracer``."""

    def __init__(self, endpoint: str, site: str, *, patience: int = 10) -> None:
        """``endpoint`` is the whole address, such as ``http://127.0.0.1:4318/v1/traces``.

        ``patience`` is how many seconds the collector has to take what is sent at once.
        """
        self._endpoint = endpoint
        self._exporter = OTLPSpanExporter(endpoint=endpoint, timeout=patience)
        about = {"service.name": "patch-orchestrator", "service.version": __version__, "patch.site": site}
        self._resource = Resource.create(about)

    def send(self, spans: Sequence[Span]) -> None:
        """Send the spans. Raises Unavailable at the first that the collector does not take."""
        waiting = iter(spans)
        while some := [self._readable(span) for span in islice(waiting, _AT_ONCE)]:
            if self._exporter.export(some) is not SpanExportResult.SUCCESS:
                raise Unavailable(f"{self._endpoint} takes no traces. Check [telemetry] endpoint, and the collector.")

    def _readable(self, span: Span) -> ReadableSpan:
        return ReadableSpan(
            name=span.name,
            context=_context(span.trace, span.id),
            parent=_context(span.trace, span.parent) if span.parent else None,
            resource=self._resource,
            attributes=dict(span.attributes),
            status=Status(StatusCode.ERROR, span.problem) if span.problem else Status(StatusCode.OK),
            start_time=_nanoseconds(span.began),
            end_time=_nanoseconds(span.ended),
        )


def _context(trace: str, span: str) -> SpanContext:
    return SpanContext(
        trace_id=int(trace, 16), span_id=int(span, 16), is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED)
    )


def _nanoseconds(at: datetime) -> int:
    return int(at.timestamp()) * 10**9 + at.microsecond * 1000
