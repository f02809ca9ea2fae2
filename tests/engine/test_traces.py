"""Traces as a collector gets them: what is received here came by OTLP over HTTP from a worker process."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGKILL

import pytest

from orchestrator.adapters.store import upgrade
from orchestrator.adapters.telemetry.otlp import OtlpTracer
from orchestrator.domain.change import ChangeState
from orchestrator.domain.rollout import Amount, RolloutPolicy
from orchestrator.domain.run import HostStatus
from orchestrator.domain.tracing import Span as Made
from orchestrator.errors import Unavailable
from orchestrator.flow import execution
from tests.collector import Collector, collecting, told
from tests.engine.disk_site import DiskSite
from tests.engine.pool import Pool
from tests.fakes.site import OMAR, FakeSite
from tests.fakes.values import EVENING, spec

ROOT = Path(__file__).parents[2]
TWO_WAVES = spec(rollout=RolloutPolicy(wave=Amount(value=2)))


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@contextmanager
def started(folder: Path, traces: str) -> Iterator[tuple[DiskSite, FakeSite]]:
    url = f"sqlite:///{folder / 'site.db'}"
    upgrade(url)
    disk = DiskSite(url=url, folder=str(folder), hosts=4, seconds=0.05, shard=1, began=time.time(), traces=traces)
    disk.prepare(TWO_WAVES)
    with disk.opened() as site:
        execution.start(site.id, OMAR, site.crew)
        yield disk, site


def wait_for(site: FakeSite, collector: Collector) -> None:
    until = time.monotonic() + 60
    while site.change.state is ChangeState.RUNNING or not collector.settled():
        assert time.monotonic() < until, site.why()
        time.sleep(0.1)
    assert site.change.state is ChangeState.SUCCEEDED, site.why()


def test_collector_gets_change_wave_shard_and_step(tmp_path: Path, collector: Collector, workers: Pool) -> None:
    with started(tmp_path, collector.url) as (disk, site):
        worker = workers.start(disk)
        wait_for(site, collector)
        workers.signal(worker, SIGKILL)
        steps = {(s.host, s.job): s for s in site.store.steps(site.id, site.production)}
    (root,) = collector.named("change")
    assert {span.trace_id for span in collector.spans.values()} == {root.trace_id}
    assert [told(wave, "patch.wave") for wave in collector.named("wave")] == ["l1.w1", "l1.w2", "l1.end6"]
    assert len(collector.named("shard")) == 4 + 4
    leaves = [s for s in collector.spans.values() if told(s, "host.name")]
    assert {(told(s, "host.name"), told(s, "patch.job")) for s in leaves} == steps.keys()
    for leaf in leaves:
        step = steps[told(leaf, "host.name"), told(leaf, "patch.job")]
        assert collector.path(leaf) == ["change", "wave", "shard", step.step.value]
        assert step.finished_at
        assert leaf.start_time_unix_nano == round(step.started_at.timestamp() * 10**6) * 1000
        assert leaf.end_time_unix_nano == round(step.finished_at.timestamp() * 10**6) * 1000
    for span in (span for span in collector.spans.values() if span.parent_span_id):
        above = collector.spans[span.parent_span_id]
        assert above.start_time_unix_nano <= span.start_time_unix_nano
        assert span.end_time_unix_nano <= above.end_time_unix_nano
    assert collector.about["service.name"] == "patch-orchestrator"


def test_killed_worker_costs_no_span(tmp_path: Path, collector: Collector, workers: Pool) -> None:
    with started(tmp_path, collector.url) as (disk, site):
        worker = workers.start(disk)
        while not site.hosts_with(HostStatus.DONE):
            time.sleep(0.02)
        workers.signal(worker, SIGKILL)
        worker = workers.start(disk)
        wait_for(site, collector)
        workers.signal(worker, SIGKILL)
        jobs = {(step.host, step.job) for step in site.store.steps(site.id, site.production)}
    leaves = [span for span in collector.spans.values() if told(span, "host.name")]
    assert {(told(leaf, "host.name"), told(leaf, "patch.job")) for leaf in leaves} == jobs
    assert len(collector.named("change")) == 1


def test_collector_that_is_away_is_named() -> None:
    span = Made(trace="1" * 32, id="2" * 16, parent="", name="change", began=EVENING, ended=EVENING)
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:9/v1/traces takes no traces"):
        OtlpTracer("http://127.0.0.1:9/v1/traces", "site", patience=1).send([span])


def test_nothing_of_it_is_imported_where_no_collector_is_named() -> None:
    imports = "import sys, orchestrator.cli.main, orchestrator.engine.durable"
    look = f"{imports}; print([name for name in sys.modules if 'opentelemetry' in name])"
    told = subprocess.run([sys.executable, "-c", look], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert told.strip() == "[]"
