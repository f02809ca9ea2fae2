"""`orchestrator change trace` on a real site."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.domain.identity import ORCHESTRATOR
from orchestrator.domain.lifecycle import ChangeEvent, advance
from tests.collector import collecting, told
from tests.commands import NOW, Site

ROOT = Path(__file__).parents[2]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return a site with a change whose staging has failed."""
    site = Site.found(tmp_path)
    change = site.open()
    for event in (ChangeEvent.STAGING_STARTED, ChangeEvent.STAGING_FAILED):
        with site.store.begin() as writing:
            move = advance(change, event, at=NOW, actor=ORCHESTRATOR)
            writing.move(move)
        change = move.after
    return site


def test_last_run_is_sent_again_and_is_the_same(site: Site) -> None:
    with collecting() as collector:
        site.set(f'[telemetry]\nendpoint = "{collector.url}"')
        for _ in range(2):
            assert "1 spans of CHG-0001 were sent" in site.give("change", "trace", "CHG-0001").out
    (span,) = collector.spans.values()
    assert (span.name, told(span, "patch.change"), told(span, "patch.state")) == ("change", "CHG-0001", "requested")
    assert collector.about["patch.site"] == "site"


def test_site_that_names_no_collector_says_how(site: Site) -> None:
    assert "[telemetry] endpoint" in site.give("change", "trace", "CHG-0001", code=4).err


def test_missing_extra_is_named(site: Site, tmp_path: Path) -> None:
    (tmp_path / "path/opentelemetry").mkdir(parents=True)
    (tmp_path / "path/opentelemetry/__init__.py").write_text("raise ImportError(name='opentelemetry')\n")
    site.set('[telemetry]\nendpoint = "http://127.0.0.1:9/v1/traces"')
    path = f"{tmp_path / 'path'}:{ROOT}"
    for words in (["change", "trace", "CHG-0001"], ["worker", "--until-idle", "1"]):
        assert "patch-orchestrator[telemetry]" in site.give(*words, code=7, PYTHONPATH=path).err
