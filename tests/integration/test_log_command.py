"""What a worker writes to its log, in both forms."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.domain.change import ChangeState
from orchestrator.domain.identity import ORCHESTRATOR
from orchestrator.domain.lifecycle import ChangeEvent, advance
from tests.commands import NOW, Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site.found(tmp_path)


def in_staging(site: Site) -> str:
    """Enter a change in staging, for which there are no hosts."""
    change = site.open()
    with site.store.begin() as writing:
        writing.move(advance(change, ChangeEvent.STAGING_STARTED, at=NOW, actor=ORCHESTRATOR))
    return change.id


def test_worker_logs_each_event_as_a_line_of_json(site: Site) -> None:
    site.set('[log]\nformat = "json"')
    change = in_staging(site)
    said = [json.loads(line) for line in site.give("worker", "--until-idle", "1").err.splitlines()]
    about = [line["message"] for line in said if line.get("change") == change]
    assert any("staging-failed by orchestrator" in message for message in about)
    assert any("works for every zone" in line["message"] for line in said)
    assert site.store.change(change).state is ChangeState.REQUESTED


def test_level_and_form_come_from_the_environment_as_well(site: Site) -> None:
    in_staging(site)
    said = site.give("worker", "--until-idle", "1", ORCHESTRATOR_LOG_LEVEL="error").err
    assert said == ""
    site.give("change", "list", ORCHESTRATOR_LOG_FORMAT="xml", code=2)


def test_worker_that_cannot_begin_says_why_in_its_last_line_without_a_secret(site: Site) -> None:
    site.set('[log]\nformat = "json"\n[secrets]\ntoken = {env = "TOKEN"}')
    (site.state / "site.key").write_text("not hexadecimal: host-token-9oLp3eDc")
    failed = site.give("worker", code=7, TOKEN="host-token-9oLp3eDc")
    last = json.loads(failed.err.splitlines()[-1])
    assert last["level"] == "error"
    assert "the site key" in last["message"]
    assert "host-token-9oLp3eDc" not in failed.err
