"""A bad update within the budget: what goes back, what stays, and who is named when a host cannot go back.

That all hosts go back where that was voted on is what the demo shows.
"""

from __future__ import annotations

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
def site(park: Park, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Give a site whose next update breaks labapp where legacy=yes is set: on w3, and not on staging."""
    park.lab.repository.publish(Package(name="labapp", version="1.0"))
    park.up("s1", *HOSTS, packages=("labapp",))
    park["w3"].run("sed", "-i", "s/legacy=no/legacy=yes/", CONF)
    park["w3"].run("systemctl", "restart", "labapp")
    park.lab.repository.publish(Package(name="labapp", version="1.1", behaviour="breaks-service"))
    site = Site.found(tmp_path_factory.mktemp("site"))
    site.inventory("staging", park.lab, {"s1": {}})
    site.inventory("production", park.lab, {name: {} for name in HOSTS})
    return site


def versions(park: Park) -> list[str]:
    return [park[name].version("labapp") for name in HOSTS]


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
