"""Long after a change: what it left goes and its evidence holds; a database that went back goes on with its hosts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.packages import Package
from orchestrator.domain.change import ChangeState
from tests.acceptance.machines import Park, wait_for
from tests.acceptance.site import Site

pytestmark = pytest.mark.lab

CHANGE = "CHG-0001"
VERIFIER = Path(__file__).parents[1] / "independent_verifier.py"


class Restored:
    """A site whose change was carried out, lost by a restore, and asked for again; and what the restore said."""

    def __init__(self, site: Site, told: dict[str, Any]) -> None:
        self.site, self.told = site, told


@pytest.fixture(scope="module")
def restored(park: Park, tmp_path_factory: pytest.TempPathFactory) -> Restored:
    park.lab.repository.publish(Package(name="labapp", version="1.0"))
    park.up("s1", "w1", packages=("labapp",))
    park.lab.repository.publish(Package(name="labapp", version="1.1"))
    folder = tmp_path_factory.mktemp("housekeeping")
    site = Site.found(folder)
    site.inventory("staging", park.lab, {"s1": {}})
    site.inventory("production", park.lab, {"w1": {}})
    site.scheduled({})
    site.give("backup", "create", str(folder / "backup.tar.gz"))
    assert site.run(CHANGE).state is ChangeState.SUCCEEDED
    wait_for("the end of the worker, which has the database open", lambda: not site.has_worker())
    told = site.json("backup", "restore", str(folder / "backup.tar.gz"), "--over", "--yes")
    again = Site(folder)  # The first one looks at the database that was put aside.
    assert again.run(CHANGE).state is ChangeState.SUCCEEDED
    again.give("change", "close", CHANGE, "--yes")
    return Restored(again, told)


def verified(site: Site, bundle: Path) -> str:
    """Let both verifiers judge a bundle, and return what ours said."""
    key = str(site.state / "signing-key.pub.pem")
    asked = [sys.executable, str(VERIFIER), str(bundle), "--key", key]
    theirs = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert theirs.returncode == 0, theirs.stdout
    return site.give("audit", "verify", str(bundle), "--key", key).out


def test_restored_database_goes_on_with_hosts_that_know_better(restored: Restored, park: Park) -> None:
    (back,) = restored.told["back"]
    assert (back["was"]["state"], back["now"]["state"]) == ("succeeded", "scheduled")
    site = restored.site
    assert site.statuses(CHANGE) == {"w1": "done"}
    assert park["w1"].version("labapp") == "1.1"
    assert park["w1"].run("grep", "-c", " upgrade labapp", "/var/log/dpkg.log").strip() == "1"
    assert [point for point in site.store.points(CHANGE) if point.is_held] == []
    assert "record-went-back" in site.tags(CHANGE)
    site.give("audit", "verify")


def test_what_a_real_change_left_goes_and_its_evidence_holds(restored: Restored, tmp_path: Path) -> None:
    site = restored.site
    before = Path(site.json("audit", "export", CHANGE, "--to", str(tmp_path / "before.tar.gz"))["bundle"])
    assert site.json("housekeeping")["going"] == []
    settings = site.folder / "orchestrator.toml"
    settings.write_text(settings.read_text() + '\n[retention]\nkeep = "1s"\n')
    going = site.json("housekeeping")["going"]
    assert {each["kind"] for each in going} == {"job", "kit", "log", "content", "package"}
    done = site.json("housekeeping", "--yes")
    assert (done["problems"], done["left"]) == ([], 0)
    for folder in ("jobs", "kits", "content"):
        assert list((site.state / folder).iterdir()) == []
    after = Path(site.json("audit", "export", CHANGE, "--to", str(tmp_path / "after.tar.gz"))["bundle"])
    assert "files of task events were removed" in verified(site, after)
    assert "removed" not in verified(site, before)
    assert after.stat().st_size < before.stat().st_size
