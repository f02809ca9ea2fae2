"""A host that dies during the change counts against it; one that was dead before does not stop the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.packages import Package
from orchestrator.domain.change import ChangeState
from tests.acceptance.conftest import WEB, Web
from tests.acceptance.machines import Park, as_soon_as
from tests.acceptance.site import Site

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("acceptance-web")]

CHANGE = "CHG-0001"


@pytest.fixture
def site(web: Web, tmp_path: Path) -> Site:
    return web.scheduled(tmp_path)


@pytest.fixture
def park(web: Web) -> Park:
    return web.park


def test_a_host_that_dies_after_its_patch_stops_the_change(site: Site, park: Park) -> None:
    w1 = park["w1"]
    with as_soon_as("the end of the patch", lambda: w1.count("patch", "end"), lambda: park.lab.power_off("w1")):
        change = site.run(CHANGE)
    assert change.state is ChangeState.FAILED
    assert site.hosts(CHANGE)["w1"].failed
    assert "1 of 4 hosts failed, 0 allowed" in site.told(CHANGE, "budget-tripped")
    assert '"host": "w1"' in site.told(CHANGE, "host-reconciled")
    assert '"host": "w1"' in site.told(CHANGE, "host-restore-failed")
    assert "w1" in site.give("change", "show", CHANGE).out
    assert w1.count("patch", "begin") == 1
    assert not any(park[name].journal() for name in WEB if name != "w1")
    assert [park[name].version("labapp") for name in WEB] == ["1.1", "1.0", "1.0", "1.0"]


def test_a_host_that_was_dead_before_is_named_and_stops_nobody(site: Site, park: Park) -> None:
    park.lab.power_off("w2")
    park.lab.repository.publish(Package(name="labapp", version="1.2"))  # Newer than what was proved: of no concern.
    try:
        change = site.run(CHANGE)
    finally:
        park.lab.repository.withdraw("labapp", "1.2")
    assert change.state is ChangeState.SUCCEEDED
    assert any(issue.startswith("w2: skipped (unfit at connect") for issue in change.issues)
    assert '"host": "w2"' in site.told(CHANGE, "host-skipped")
    assert site.statuses(CHANGE) == {"w1": "done", "w2": "skipped", "w3": "done", "w4": "done"}
    assert [park[name].version("labapp") for name in WEB] == ["1.1", "1.0", "1.1", "1.1"]
    assert not park["w2"].journal()
    site.give("change", "close", CHANGE, "--yes")
    assert site.change(CHANGE).close_code == "successful with issues"
