"""A bad update: what goes back, what stays, and who is named when a host cannot go back."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.packages import Package
from orchestrator.domain.change import ChangeState
from tests.acceptance.machines import Park, kill, wait_for
from tests.acceptance.site import Site

pytestmark = pytest.mark.lab

HOSTS = ("w1", "w2", "w3")
CONF = "/etc/labapp.conf"
REQUEST = {"canary": 1, "health_url": "http://{address}:8080/health"}


@pytest.fixture(scope="module")
def founded(park: Park, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Give a site whose next update breaks labapp where legacy=yes is set: on w3, and not on staging."""
    park.lab.repository.publish(Package(name="labapp", version="1.0"))
    park.up("s1", *HOSTS, packages=("labapp",))
    park["w3"].run("sed", "-i", "s/legacy=no/legacy=yes/", CONF)
    park["w3"].run("systemctl", "restart", "labapp")
    park.lab.repository.publish(Package(name="labapp", version="1.1", behaviour="breaks-service"))
    site = Site.found(tmp_path_factory.mktemp("founded"))
    site.inventory("staging", park.lab, {"s1": {}})
    site.inventory("production", park.lab, {name: {} for name in HOSTS})
    park.keep("s1", *HOSTS)
    return site


@pytest.fixture
def site(founded: Site, park: Park, tmp_path: Path) -> Site:
    park.renew("s1", *HOSTS)
    return founded.copy(tmp_path)


def versions(park: Park) -> list[str]:
    return [park[name].version("labapp") for name in HOSTS]


def test_all_hosts_go_back_where_that_was_voted_on(site: Site, park: Park) -> None:
    before = {name: park[name].packages() for name in HOSTS}
    change = site.scheduled({**REQUEST, "on_trip": "all"})
    assert site.run(change).state is ChangeState.ROLLED_BACK
    assert site.statuses(change) == dict.fromkeys(HOSTS, "restored")
    assert {name: park[name].packages() for name in HOSTS} == before
    assert [park[name].ask() for name in HOSTS] == ["200 labapp 1.0"] * 3
    assert "legacy=yes" in (park["w3"].disk / CONF.lstrip("/")).read_text()
    assert [park[name].count("restore", "restored") for name in HOSTS] == [1, 1, 1]
    assert "500" in site.told(change, "host-failed")
    tags = [tag for tag in site.tags(change) if tag in ("budget-tripped", "rollback-started", "rolled-back")]
    assert tags == ["budget-tripped", "rollback-started", "rolled-back"]


def test_a_failed_host_within_the_budget_goes_back_alone_and_a_lost_one_is_named(site: Site, park: Park) -> None:
    change = site.scheduled({**REQUEST, "max_failures": 1})
    site.start(change)
    # The carrier dies while w3 goes back: whoever goes on must not take the old version for the new one.
    wait_for("w3 to go back", lambda: park["w3"].count("restore", "begin"))
    kill(site.carrier(change))
    site.give("change", "resume", change, "--yes", "--detach")
    ended = site.ended(change)
    assert ended.state is ChangeState.SUCCEEDED
    assert site.statuses(change) == {"w1": "done", "w2": "done", "w3": "restored"}
    assert any(issue.startswith("w3: restored") and "500" in issue for issue in ended.issues)
    assert versions(park) == ["1.1", "1.1", "1.0"]
    assert park["w3"].count("patch", "begin") == 1

    park.lab.power_off("w2")
    site.give("change", "rollback", change, "--reason", "Nobody wants it.", "--yes", "--detach")
    lost = site.ended(change)
    assert lost.state is ChangeState.FAILED
    assert site.statuses(change) == {"w1": "restored", "w2": "restore-failed", "w3": "restored"}
    assert any(issue.startswith("w2: ") for issue in lost.issues)
    assert "w2: " in site.told(change, "failed")
    assert versions(park) == ["1.0", "1.1", "1.0"]
    assert park["w1"].ask() == "200 labapp 1.0"
    assert [point.host for point in site.store.points(change) if point.is_held and point.host == "w2"] == ["w2"]
