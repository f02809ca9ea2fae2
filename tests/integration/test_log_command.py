"""What a carrier writes to its log, in both forms."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

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


def test_carrier_logs_each_event_as_a_line_of_json(site: Site) -> None:
    site.set('[log]\nformat = "json"')
    change = in_staging(site)
    said = [json.loads(line) for line in site.give("change", "carry", change).err.splitlines()]
    assert {line["change"] for line in said} == {change}
    assert said[0]["message"].startswith("carried by process")
    assert any("staging-failed by orchestrator" in line["message"] for line in said)
    assert said[-1]["message"] == "nothing is left to carry: requested"


def test_level_and_form_come_from_the_environment_as_well(site: Site) -> None:
    said = site.give("change", "carry", in_staging(site), ORCHESTRATOR_LOG_LEVEL="warning").err
    assert said == ""
    site.give("change", "list", ORCHESTRATOR_LOG_FORMAT="xml", code=2)


def test_carrier_that_fails_says_why_in_its_last_line_without_a_secret(site: Site) -> None:
    site.set('[log]\nformat = "json"\n[secrets]\ntoken = {env = "TOKEN"}')
    change = in_staging(site)
    (site.state / "site.key").write_text("not hexadecimal: host-token-9oLp3eDc")
    failed = site.give("change", "carry", change, code=7, TOKEN="host-token-9oLp3eDc")
    last = json.loads(failed.err.splitlines()[-1])
    assert (last["level"], last["change"]) == ("error", change)
    assert "the site key" in last["message"]
    assert "host-token-9oLp3eDc" not in failed.err
