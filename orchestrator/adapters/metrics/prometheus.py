"""Metrics in Prometheus' text format: printed, in a file for the node exporter, or served."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from orchestrator.domain.metrics import Measure
from orchestrator.errors import OrchestratorError, Unavailable

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

PREFIX = "orchestrator_"


@dataclass(frozen=True, slots=True)
class Exposition:
    """The metrics that ``observe`` returns, as they are whenever somebody asks."""

    observe: Callable[[], Sequence[Measure]]

    def text(self) -> bytes:
        """Return the text format, version 0.0.4."""
        registry = CollectorRegistry()
        registry.register(_Observed(self.observe()))
        return generate_latest(registry)

    def write(self, target: Path) -> None:
        """Write the file in one piece: the collector may read at any moment. Raises Unavailable."""
        raw = self.text()
        draft = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            draft.write_bytes(raw)
            draft.chmod(0o644)  # The node exporter is another account.
            draft.replace(target)
        except OSError as error:
            with suppress(OSError):
                draft.unlink()
            raise Unavailable(f"the metrics cannot be written to {target}: {error.strerror}.") from error

    def server(self, address: str, port: int) -> WSGIServer:
        """Return a server of ``/metrics`` that listens already; ``serve_forever`` answers. Raises Unavailable."""
        try:
            return make_server(address, port, self._answer, server_class=_Server, handler_class=_Quiet)
        except OSError as error:
            raise Unavailable(f"nothing can listen on {address}, port {port}: {error.strerror}.") from error

    def _answer(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        if environ.get("PATH_INFO") != "/metrics":
            return _reply(start, "404 Not Found", b"There is /metrics, and nothing else.\n")
        if environ.get("REQUEST_METHOD") not in {"GET", "HEAD"}:
            return _reply(start, "405 Method Not Allowed", b"Metrics are read.\n")
        try:
            return _reply(start, "200 OK", self.text(), CONTENT_TYPE_PLAIN_0_0_4)
        except OrchestratorError as error:
            # A scrape that fails is a metric by itself (up == 0).
            return _reply(start, "503 Service Unavailable", f"{error}\n".encode())


class _Observed(Collector):
    """Measures in the client library's own words."""

    def __init__(self, measures: Sequence[Measure]) -> None:
        self._measures = measures

    def collect(self) -> Iterator[Metric]:
        """Give each measure with its samples."""
        for measure in self._measures:
            labels = list(measure.samples[0].labels) if measure.samples else []
            family = CounterMetricFamily if measure.is_counter else GaugeMetricFamily
            metric = family(PREFIX + measure.name, measure.help, labels=labels)
            for sample in measure.samples:
                metric.add_metric([sample.labels[label] for label in labels], sample.value)
            yield metric


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: a line for each scrape would only hide what matters."""


def _reply(start: StartResponse, status: str, body: bytes, kind: str = "text/plain; charset=utf-8") -> list[bytes]:
    start(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body]
