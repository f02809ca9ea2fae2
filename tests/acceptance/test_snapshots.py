"""The `command` provider with the lab's own snapshots: exact where a machine may go back, a person elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lab.instance import Lab
from lab.packages import Package
from orchestrator.domain.change import ChangeState
from tests.acceptance.machines import Park
from tests.acceptance.site import Site

pytestmark = pytest.mark.lab

HOSTS = ("w1", "w2", "w3")


@pytest.fixture(scope="module")
def site(park: Park, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Give a site with the lab's snapshots: w1 keeps no data, w2 does, w3 does and has its packages secured too."""
    park.lab.repository.publish(Package(name="labapp", version="1.0"))
    park.up("s1", *HOSTS, packages=("labapp",))
    park.lab.repository.publish(Package(name="labapp", version="1.1"))
    site = Site.found(tmp_path_factory.mktemp("snapshots"))
    settings = site.folder / "orchestrator.toml"
    settings.write_text(settings.read_text() + snapshot_tool(park.lab))
    site.inventory("staging", park.lab, {"s1": {"patch_state": "stateless", "patch_rollback": ["lab"]}})
    kinds = {
        "w1": {"patch_state": "stateless", "patch_rollback": ["lab"]},
        "w2": {"patch_state": "stateful", "patch_rollback": ["lab"]},
        "w3": {"patch_state": "stateful", "patch_rollback": ["lab", "packages"]},
    }
    site.inventory("production", park.lab, kinds)
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


def test_a_machine_goes_back_exactly_and_one_with_data_only_by_a_person(site: Site, park: Park) -> None:
    change = site.submit({})
    # w2 has no way back that the machine may go by itself: somebody has to answer for it by name.
    key = str(site.keys / "cora")
    site.give("change", "waive", change, "rollback:w2", "--reason", "It is watched by hand.", "--key", key)
    site.stage(change)
    assert park["s1"].journal()[-1]["event"] in ("end", "released")
    assert {plan.host: plan.rollback_class.value for plan in site.store.plan(site.change(change).digest).hosts} == {
        "w1": "exact",
        "w2": "none",
        "w3": "package",
    }
    site.approve(change)
    site.give("change", "schedule", change, "--yes")
    assert site.run(change).state is ChangeState.SUCCEEDED
    assert [park[name].version("labapp") for name in HOSTS] == ["1.1"] * 3
    for name in HOSTS:
        park[name].run("touch", "/written-after-the-patch")

    patched_under = site.hosts(change)["w1"].token
    site.give("change", "rollback", change, "--reason", "A rehearsal.", "--yes", "--detach")
    ended = site.ended(change)
    assert ended.state is ChangeState.FAILED
    assert site.statuses(change) == {"w1": "restored", "w2": "restore-failed", "w3": "restored"}
    assert [park[name].version("labapp") for name in HOSTS] == ["1.0", "1.1", "1.0"]
    assert [(park[name].disk / "written-after-the-patch").exists() for name in HOSTS] == [False, True, True]
    assert "A person has to decide" in site.told(change, "failed")
    assert any("w2" in issue for issue in ended.issues)
    assert any("lab was not used" in warning for warning in site.hosts(change)["w3"].warnings)
    # The snapshot took the host's journal back too; what stands there now says so, under a token that is newer.
    *_, last = [record for record in park["w1"].journal() if record["step"] != "release"]
    assert not park["w1"].was_patched()
    assert last["event"] == "restored"
    assert last["counter"] == site.hosts(change)["w1"].token > patched_under
