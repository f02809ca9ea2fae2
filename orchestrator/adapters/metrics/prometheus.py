"""Metrics in Prometheus' text format: printed, served, or in a file for the node exporter."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from orchestrator.domain.metrics import Measure
from orchestrator.errors import Unavailable

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
