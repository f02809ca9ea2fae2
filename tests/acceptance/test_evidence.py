"""What an auditor gets: a record that holds, forgeries that do not, and a way back without the orchestrator."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from lab.packages import Package
from orchestrator.adapters.evidence.keys import current
from orchestrator.domain.canonical import canonical
from orchestrator.domain.change import ChangeState
from tests.acceptance.machines import Park
from tests.acceptance.site import Done, Site
from tests.evidence_case import Loose

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("acceptance-evidence")]

HOSTS = ("w1", "w2")
CHANGE = "CHG-0001"
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def before(park: Park) -> dict[str, dict[str, str]]:
    park.lab.repository.publish(Package(name="labapp", version="1.0"))
    park.up("s1", *HOSTS, packages=("labapp",))
    return {name: park[name].packages() for name in HOSTS}


@pytest.fixture(scope="module")
def site(park: Park, before: dict[str, dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Give a site whose only change has succeeded on two hosts, with a new dependency."""
    park.lab.repository.publish(Package(name="labapp", version="1.1", behaviour="new-dependency"))
    site = Site.found(tmp_path_factory.mktemp("done"))
    site.inventory("staging", park.lab, {"s1": {}})
    site.inventory("production", park.lab, {name: {} for name in HOSTS})
    assert site.run(site.scheduled({})).state is ChangeState.SUCCEEDED
    return site


@pytest.fixture(scope="module")
def bundle(site: Site) -> Path:
    return Path(site.json("audit", "export", CHANGE)["bundle"])


def public_key(site: Site) -> Path:
    return site.state / "signing-key.pub.pem"


def judged(site: Site, bundle: Path, *, code: int) -> Done:
    """Let both verifiers judge a bundle against the pinned key; they have to agree."""
    ours = site.give("audit", "verify", str(bundle), "--key", str(public_key(site)), code=code)
    asked = [sys.executable, str(ROOT / "tests/independent_verifier.py"), str(bundle), "--key", str(public_key(site))]
    theirs = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert theirs.returncode == code, theirs.stdout + theirs.stderr
    return ours


def test_two_verifiers_agree_that_a_real_bundle_holds(site: Site, bundle: Path) -> None:
    assert "verified" in judged(site, bundle, code=0).out
    members = Loose.of(bundle).said.keys()
    assert {"plan.json", "lock.json", "approvals.json", "trail.jsonl", "packages/w1.after.json"} <= members


def test_without_a_pinned_key_the_signer_is_unknown(site: Site, bundle: Path) -> None:
    assert "signer" in site.give("audit", "verify", str(bundle), code=9).said


def test_one_flipped_byte_is_refused(site: Site, bundle: Path, tmp_path: Path) -> None:
    raw = bytearray(bundle.read_bytes())
    raw[len(raw) // 2] ^= 1
    forged = tmp_path / "flipped.tar.gz"
    forged.write_bytes(raw)
    judged(site, forged, code=8)


def test_a_bundle_signed_again_with_another_key_is_refused(site: Site, bundle: Path, tmp_path: Path) -> None:
    other = Site.found(tmp_path / "other")
    key, loose = current(other.state), Loose.of(bundle)
    proof = loose.said["checkpoint.json"]
    proof["signature"] = json.loads(key.sign(canonical(proof["checkpoint"])))
    forged = loose.list_anew(key).pack(tmp_path / "resigned.tar.gz")
    assert "signer" in judged(site, forged, code=9).said


def test_a_trail_without_one_of_its_events_is_refused(site: Site, tmp_path: Path) -> None:
    other = site.copy(tmp_path)
    change_database(other, f"DELETE FROM audit_event WHERE chain = '{CHANGE}' AND tag = 'voted'")
    refused = other.give("audit", "verify", code=8)
    assert CHANGE in refused.said
    assert "seq" in refused.said or "missing" in refused.said


def test_a_vote_that_was_edited_in_the_database_is_refused(site: Site, tmp_path: Path) -> None:
    other = site.copy(tmp_path)
    with other.edited(CHANGE) as document:
        document["votes"][0]["reason"] = "Nobody has looked at it."
    exported = Path(other.json("audit", "export", CHANGE, "--to", str(tmp_path / "edited.tar.gz"))["bundle"])
    assert "vote" in judged(other, exported, code=8).said


def test_the_kit_puts_hosts_back_when_the_orchestrator_is_gone(
    site: Site, bundle: Path, before: dict[str, dict[str, str]], park: Park, tmp_path: Path
) -> None:
    # The last test of this module: nothing of the site is there afterwards.
    assert bundle.exists()
    assert {name: park[name].version("labapp-extra") for name in HOSTS} == {"w1": "1.1", "w2": "1.1"}
    kit = tmp_path / "kit"
    shutil.copytree(site.state / "kits" / CHANGE, kit)
    gone = tmp_path / "gone"
    gone.mkdir()
    for folder in (site.folder, site.state):
        shutil.move(folder, gone / folder.name)
    wanted = ("PATH", "HOME", "LANG")
    environment = {name: os.environ[name] for name in wanted if name in os.environ} | {"LANG": "C.UTF-8"}
    playbook = Path(sys.executable).with_name("ansible-playbook")
    done = subprocess.run(
        [str(playbook), "playbooks/restore.yml"],
        cwd=kit,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert {name: park[name].packages() for name in HOSTS} == before
    assert [park[name].count("restore", "restored") for name in HOSTS] == [1, 1]
    assert [park[name].ask() for name in HOSTS] == ["200 labapp 1.0"] * 2


def change_database(site: Site, statement: str) -> None:
    with sqlite3.connect(site.state / "orchestrator.db") as database:
        assert database.execute(statement).rowcount == 1
    database.close()
