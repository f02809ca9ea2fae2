"""One bad update, and every way back: hosts that go back by packages or to a snapshot, and those that do not.

That all hosts go back where that was voted on is what the demo shows.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lab.instance import Lab
from lab.packages import Package
from orchestrator.domain.change import ChangeState
from tests.acceptance.machines import Park, kill
from tests.acceptance.site import Site
from tests.waiting import wait_for

pytestmark = pytest.mark.lab

CONF = "/etc/labapp.conf"
REQUEST = {"canary": 1, "health_url": "http://{address}:8080/health", "max_failures": 1}
#: What the hosts are, and how the inventory says that they go back.
HOSTS: dict[str, dict[str, object]] = {
    "lost": {},
    "old": {},
    "cattle": {"patch_state": "stateless", "patch_rollback": ["lab"]},
    "pet": {"patch_state": "stateful", "patch_rollback": ["lab"]},
    "both": {"patch_state": "stateful", "patch_rollback": ["lab", "packages"]},
}


@pytest.fixture(scope="module")
def site(park: Park, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Give a site with the lab's snapshots, whose next update breaks labapp where legacy=yes is set: on `old` alone."""
    park.lab.repository.publish(Package(name="labapp", version="1.0"))
    park.up("s1", *HOSTS, packages=("labapp",))
    park["old"].run("sed", "-i", "s/legacy=no/legacy=yes/", CONF)
    park["old"].run("systemctl", "restart", "labapp")
    park.lab.repository.publish(Package(name="labapp", version="1.1", behaviour="breaks-service"))
    site = Site.found(tmp_path_factory.mktemp("site"))
    settings = site.folder / "orchestrator.toml"
    settings.write_text(settings.read_text() + snapshot_tool(park.lab))
    site.inventory("staging", park.lab, {"s1": HOSTS["cattle"]})
    site.inventory("production", park.lab, HOSTS)
    return site


def snapshot_tool(lab: Lab) -> str:
    tool = ["env", f"PYTHONPATH={Path(__file__).parents[2]}", f"PATCH_LAB_ROOT={lab.root}"]
    lines = {
        "take": [*tool, sys.executable, "-m", "lab", "--instance", lab.name, "snapshot", "{host}", "{label}"],
        "restore": [*tool, sys.executable, "-m", "lab", "--instance", lab.name, "restore", "{host}", "{label}"],
        "release": [*tool, sys.executable, "-m", "lab", "--instance", lab.name, "drop-snapshot", "{host}", "{label}"],
        "exists": ["test", "-d", f"{lab.folder}/hosts/{{host}}/snapshots/{{label}}"],
    }
    return "\n[rollback.lab]\n" + "".join(f"{name} = {words!r}\n".replace("'", '"') for name, words in lines.items())


def versions(park: Park) -> dict[str, str]:
    return {name: park[name].version("labapp") for name in HOSTS}


def test_each_host_goes_back_in_its_own_way_and_who_cannot_is_named(site: Site, park: Park) -> None:
    change = site.submit(REQUEST)
    # The pet has no way back that the machine may go by itself: somebody has to answer for it by name.
    key = str(site.keys / "cora")
    site.give("change", "waive", change, "rollback:pet", "--reason", "It is watched by hand.", "--key", key)
    site.stage(change)
    assert park["s1"].journal()[-1]["event"] in ("end", "released")
    planned = {plan.host: plan.rollback_class.value for plan in site.store.plan(site.change(change).digest).hosts}
    assert planned == {"lost": "package", "old": "package", "cattle": "exact", "pet": "none", "both": "package"}
    site.approve(change)
    site.give("change", "schedule", change, "--yes")

    a_failed_host_within_the_budget_goes_back_alone(site, park, change)
    for name in HOSTS:
        park[name].run("touch", "/written-after-the-patch")
    park.lab.power_off("lost")
    patched_under = site.hosts(change)["cattle"].token
    site.give("change", "rollback", change, "--reason", "Nobody wants it.", "--yes", "--detach")
    ended = site.ended(change)
    assert ended.state is ChangeState.FAILED
    assert site.statuses(change) == dict.fromkeys(HOSTS, "restored") | dict.fromkeys(("lost", "pet"), "restore-failed")
    assert versions(park) == dict.fromkeys(HOSTS, "1.0") | dict.fromkeys(("lost", "pet"), "1.1")
    assert park["both"].ask() == "200 labapp 1.0"
    assert {issue.partition(":")[0] for issue in ended.issues} >= {"lost", "pet"}
    told = site.told(change, "failed")
    assert "lost: " in told
    assert "pet: " in told
    assert "A person has to decide" in told
    assert "lost" in {point.host for point in site.store.points(change) if point.is_held}

    anew = {name for name in HOSTS if not (park[name].disk / "written-after-the-patch").exists()}
    assert anew == {"cattle"}, "packages are put back on the disk as it is, and nobody touches the pet's"
    assert any("lab was not used" in warning for warning in site.hosts(change)["both"].warnings)
    # The snapshot took the host's journal back too; what stands there now says so, under a token that is newer.
    *_, last = [record for record in park["cattle"].journal() if record["step"] != "release"]
    assert not park["cattle"].was_patched()
    assert last["event"] == "restored"
    assert last["counter"] == site.hosts(change)["cattle"].token > patched_under


def a_failed_host_within_the_budget_goes_back_alone(site: Site, park: Park, change: str) -> None:
    site.start(change)
    # The carrier dies while the host goes back: whoever goes on must not take the old version for the new one.
    wait_for("the old host to go back", lambda: park["old"].count("restore", "begin"))
    kill(site.carrier(change))
    site.give("change", "resume", change, "--yes", "--detach")
    ended = site.ended(change)
    assert ended.state is ChangeState.SUCCEEDED
    assert site.statuses(change) == dict.fromkeys(HOSTS, "done") | {"old": "restored"}
    assert any(issue.startswith("old: restored") and "500" in issue for issue in ended.issues)
    assert versions(park) == dict.fromkeys(HOSTS, "1.1") | {"old": "1.0"}
    assert park["old"].count("patch", "begin") == 1
