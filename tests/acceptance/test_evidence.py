"""What an auditor gets: a record that holds, forgeries that do not, and a way back without the orchestrator."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.adapters.evidence.archive import members
from orchestrator.adapters.evidence.keys import SigningKey, current
from orchestrator.domain.canonical import canonical
from orchestrator.domain.change import ChangeState
from tests.acceptance.conftest import WEB, Web
from tests.acceptance.site import Done, Site
from tests.evidence_case import Loose, pack_raw

pytestmark = pytest.mark.lab

CHANGE = "CHG-0001"
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(web: Web, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Give a site whose only change has succeeded, with a new dependency."""
    site = web.scheduled(tmp_path_factory.mktemp("done"))
    assert site.run(CHANGE).state is ChangeState.SUCCEEDED
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
    there = Loose.of(bundle).said.keys()
    assert {"plan.json", "lock.json", "approvals.json", "trail.jsonl", "packages/w1.after.json"} <= there


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
    forged = signed_again(bundle, tmp_path / "resigned.tar.gz", current(other.state))
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
    site: Site, bundle: Path, web: Web, tmp_path: Path
) -> None:
    # The last test of this module: nothing of the site is there afterwards.
    park, told = web.park, Loose.of(bundle).said
    before = {name: told[f"packages/{name}.before.json"]["packages"] for name in WEB}
    assert [park[name].version("labapp-extra") for name in WEB] == ["1.1"] * 4
    kit, gone = tmp_path / "kit", tmp_path / "gone"
    shutil.copytree(site.state / "kits" / CHANGE, kit)
    gone.mkdir()
    for folder in (site.folder, site.state):
        shutil.move(folder, gone / folder.name)
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | {"LANG": "C.UTF-8"}
    argv = [str(Path(sys.executable).with_name("ansible-playbook")), "playbooks/restore.yml"]
    done = subprocess.run(argv, cwd=kit, env=kept, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {name: park[name].packages() for name in WEB} == before
    assert [park[name].count("restore", "restored") for name in WEB] == [1] * 4
    assert [park[name].ask() for name in WEB] == ["200 labapp 1.0"] * 4


def signed_again(bundle: Path, target: Path, key: SigningKey) -> Path:
    """Do what somebody does who has all of a bundle but the key: sign checkpoint and manifest with another one."""
    raw = {member.name: b"".join(member.chunks) for member in members(bundle)}
    proof, manifest = json.loads(raw["checkpoint.json"]), json.loads(raw["manifest.json"])
    proof["signature"] = json.loads(key.sign(canonical(proof["checkpoint"])))
    raw["checkpoint.json"] = canonical(proof)
    manifest["files"]["checkpoint.json"] = hashlib.sha256(raw["checkpoint.json"]).hexdigest()
    raw["manifest.json"] = canonical(manifest)
    raw["manifest.sig"] = key.sign(raw["manifest.json"])
    return pack_raw(target, raw)


def change_database(site: Site, statement: str) -> None:
    with sqlite3.connect(site.state / "orchestrator.db") as database:
        assert database.execute(statement).rowcount == 1
    database.close()
