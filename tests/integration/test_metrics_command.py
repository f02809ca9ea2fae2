"""`orchestrator metrics` on a real site."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from orchestrator.domain.change import ChangeState
from orchestrator.domain.identity import ORCHESTRATOR
from orchestrator.domain.lifecycle import ChangeEvent, advance
from orchestrator.engine.worker import only_one
from tests.commands import NOW, Site

PAGE = Path(__file__).parents[2] / "docs" / "monitoring.md"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site.found(tmp_path)


def test_what_is_recorded_is_told(site: Site) -> None:
    change = site.open()
    with site.store.begin() as writing:
        writing.move(advance(change, ChangeEvent.STAGING_STARTED, at=NOW, actor=ORCHESTRATOR))
    said = site.give("metrics").out
    assert 'orchestrator_changes{state="staging"} 1.0' in said
    assert "orchestrator_changes_unattended 1.0" in said
    assert "orchestrator_audit_events_total 2.0" in said
    assert "orchestrator_outbox_events 2.0" in said
    with only_one(site.wired.carriers.lock):
        told = site.give("metrics", "--json").json
    assert told["changes_unattended"] == [{"labels": {}, "value": 0}]
    assert {"labels": {"state": ChangeState.STAGING}, "value": 1} in told["changes"]


def test_page_names_every_metric_that_there_is(site: Site) -> None:
    told = site.give("metrics").out
    there = {line.split()[2] for line in told.splitlines() if line.startswith("# TYPE")}
    assert there == set(re.findall(r"^\| `(orchestrator_[a-z_]+)`", PAGE.read_text(), re.MULTILINE))
    alerts = set(re.findall(r"expr: (orchestrator_[a-z_]+)", PAGE.read_text()))
    assert len(alerts) == 3
    assert alerts <= there


def test_file_and_server_say_the_same(site: Site, tmp_path: Path) -> None:
    site.open()
    site.give("metrics", "--textfile", str(tmp_path / "x.prom"))
    argv = [sys.executable, "-m", "orchestrator", "--site", str(site.folder), "metrics", "--listen", "0"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            url = process.stdout.readline().split()[0]
            with urllib.request.urlopen(url) as answer:
                served = answer.read()
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert served == (tmp_path / "x.prom").read_bytes()


@pytest.mark.parametrize(
    "words", [("--listen", "host:port"), ("--listen", "99999"), ("--listen", "1", "--textfile", "x")]
)
def test_what_cannot_be_meant_is_refused(site: Site, words: tuple[str, ...]) -> None:
    site.give("metrics", *words, code=2)
