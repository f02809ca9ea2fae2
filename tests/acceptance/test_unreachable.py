"""A host that dies during the change counts against it; one that was dead before does not stop the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.packages import Package
from orchestrator.domain.change import ChangeState
from tests.acceptance.machines import Park, as_soon_as
from tests.acceptance.site import Site

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("acceptance-unreachable")]

HOSTS = ("w1", "w2", "w3")
CHANGE = "CHG-0001"


@pytest.fixture(scope="module")
def planned(park: Park, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Give a site whose change has its window: one canary, then the other two hosts."""
    park.lab.repository.publish(Package(name="labapp", version="1.0"))
    park.up("s1", *HOSTS, packages=("labapp",))
    park.lab.repository.publish(Package(name="labapp", version="1.1"))
    site = Site.found(tmp_path_factory.mktemp("planned"))
    site.inventory("staging", park.lab, {"s1": {}})
    site.inventory("production", park.lab, {name: {} for name in HOSTS})
    site.scheduled({"canary": 1, "max_unfit": 1})
    park.keep(*HOSTS)
    return site


@pytest.fixture
def site(planned: Site, park: Park, tmp_path: Path) -> Site:
    park.renew(*HOSTS)
    return planned.copy(tmp_path)


def test_a_host_that_dies_after_its_patch_stops_the_change(site: Site, park: Park) -> None:
    w1 = park["w1"]
    with as_soon_as("the end of the patch", lambda: w1.count("patch", "end"), lambda: park.lab.power_off("w1")):
        change = site.run(CHANGE)
    assert change.state is ChangeState.FAILED
    assert site.hosts(CHANGE)["w1"].failed
    assert "1 of 3 hosts failed, 0 allowed" in site.told(CHANGE, "budget-tripped")
    assert '"host": "w1"' in site.told(CHANGE, "host-reconciled")
    assert '"host": "w1"' in site.told(CHANGE, "host-restore-failed")
    assert "w1" in site.give("change", "show", CHANGE).out
    assert w1.count("patch", "begin") == 1
    assert {name: park[name].journal() for name in ("w2", "w3")} == {"w2": [], "w3": []}
    assert [park[name].version("labapp") for name in ("w2", "w3")] == ["1.0", "1.0"]


def test_a_host_that_was_dead_before_is_named_and_stops_nobody(site: Site, park: Park) -> None:
    park.lab.power_off("w2")
    park.lab.repository.publish(Package(name="labapp", version="1.2"))  # Newer than what was proved: of no concern.
    change = site.run(CHANGE)
    assert change.state is ChangeState.SUCCEEDED
    assert any(issue.startswith("w2: skipped (unfit at connect") for issue in change.issues)
    assert '"host": "w2"' in site.told(CHANGE, "host-skipped")
    assert site.statuses(CHANGE) == {"w1": "done", "w2": "skipped", "w3": "done"}
    assert [park[name].version("labapp") for name in HOSTS] == ["1.1", "1.0", "1.1"]
    assert not park["w2"].journal()
    site.give("change", "close", CHANGE, "--yes")
    assert site.change(CHANGE).close_code == "successful with issues"
