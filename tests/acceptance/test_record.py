"""What one change leaves behind: a record that holds, no secret anywhere, nothing for ever, and a way back.

One file, because carrying the change is most of what these tests cost; they stand in the order of its life.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from demo.forging import flipped
from lab.packages import Package
from orchestrator.adapters.evidence.archive import members
from orchestrator.adapters.evidence.keys import SigningKey, current
from orchestrator.domain.canonical import canonical
from orchestrator.domain.change import ChangeState
from orchestrator.domain.inventory import Environment, Secret
from orchestrator.domain.probe import Needs
from orchestrator.wiring import Site as Wired
from tests.acceptance.machines import Park
from tests.acceptance.planted import SECRETS, contents, found_in, pack, plant
from tests.acceptance.site import Done, Site
from tests.evidence_case import Loose, pack_raw
from tests.waiting import wait_for

pytestmark = pytest.mark.lab

CHANGE = "CHG-0001"
HOSTS = ("w1", "w2")
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Carried:
    """A site whose only change has succeeded, with a new dependency; a backup of the hour before; the vault's key."""

    site: Site
    backup: Path
    unlock: Path


@pytest.fixture(scope="module")
def carried(park: Park, tmp_path_factory: pytest.TempPathFactory) -> Carried:
    park.lab.repository.publish(Package(name="labapp", version="1.0"))
    park.up("s1", *HOSTS, packages=("labapp",), user="patchpw", sudo_password=SECRETS["become password"])
    park.lab.repository.publish(Package(name="labapp", version="1.1", behaviour="new-dependency"))
    folder = tmp_path_factory.mktemp("record")
    site, unlock = Site.found(folder), folder / "vault-password"
    site.inventory("staging", park.lab, {"s1": {}})
    site.inventory("production", park.lab, {name: {} for name in HOSTS})
    plant(site, park.lab, unlock, ("s1", *HOSTS))
    site.scheduled({})
    backup = folder / "backup.tar.gz"
    site.give("backup", "create", str(backup))
    with site.served():
        wait_for("its window", lambda: not site.is_in(CHANGE, ChangeState.SCHEDULED))
        assert site.ended(CHANGE).state is ChangeState.SUCCEEDED
    park.keep(*HOSTS)
    return Carried(site, backup, unlock)


@pytest.fixture(scope="module")
def site(carried: Carried) -> Site:
    return carried.site


@pytest.fixture(scope="module")
def bundle(site: Site) -> Path:
    return Path(site.json("audit", "export", CHANGE)["bundle"])


def public_key(site: Site) -> Path:
    return site.state / "signing-key.pub.pem"


def judged(site: Site, bundle: Path, *, code: int = 0) -> Done:
    """Let both verifiers judge a bundle against the pinned key; they have to agree."""
    ours = site.give("audit", "verify", str(bundle), "--key", str(public_key(site)), code=code)
    asked = [sys.executable, str(ROOT / "tests/independent_verifier.py"), str(bundle), "--key", str(public_key(site))]
    theirs = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert theirs.returncode == code, theirs.stdout + theirs.stderr
    return ours


def test_it_was_started_when_its_window_opened_with_nobody_there(site: Site) -> None:
    (started,) = site.trail(CHANGE, "started")
    assert (started.actor, site.change(CHANGE).reserved.start <= started.at) == ("orchestrator", True)


def test_points_tasks_and_hosts_are_told_by_the_commands_for_them(site: Site) -> None:
    assert {point["host"] for point in site.json("rollback-point", "list")} >= set(HOSTS)
    assert f"rollback point of {CHANGE} by packages, class package" in site.give("host", "show", "w1").out
    assert site.json("window", "check", CHANGE)["last_safe_starts"].keys() == set(HOSTS)
    assert "last safe start" in site.give("window", "check", CHANGE).out
    outcomes = {task["outcome"] for task in site.json("change", "tasks", CHANGE, "--host", "w1")}
    assert "changed" in outcomes
    assert not outcomes & {"failed", "unreachable"}
    assert "w1 is done: there is no doubt to settle" in site.give("host", "reconcile", CHANGE, "w1", code=4).said


def test_host_that_takes_a_password_is_looked_at_with_it(site: Site) -> None:
    wired = Wired(site.folder)
    (known,) = wired.inventory.resolve("w1", Environment.PRODUCTION)
    for password, fit in ((SECRETS["become password"], True), ("another", False)):
        account = replace(known.connection, key_file="", password=Secret(password))
        (report,) = wired.crew.probe.look([replace(known, connection=account)], Needs())
        assert report.is_fit is fit, report
        assert password not in repr(report)


# Whether it holds ---------------------------------------------------------------------------------------------


def test_two_verifiers_agree_that_a_real_bundle_holds(site: Site, bundle: Path) -> None:
    assert "verified" in judged(site, bundle).out
    there = Loose.of(bundle).said.keys()
    assert {"plan.json", "lock.json", "approvals.json", "trail.jsonl", "packages/w1.after.json"} <= there


def test_without_a_pinned_key_the_signer_is_unknown(site: Site, bundle: Path) -> None:
    assert "signer" in site.give("audit", "verify", str(bundle), code=9).said


def test_one_flipped_byte_is_refused(site: Site, bundle: Path, tmp_path: Path) -> None:
    raw, forged = bundle.read_bytes(), tmp_path / "flipped.tar.gz"
    forged.write_bytes(flipped(raw, len(raw) // 2))
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


# Whether it tells too much ------------------------------------------------------------------------------------


def test_no_secret_is_in_anything_that_a_change_leaves_behind(site: Site, bundle: Path, tmp_path: Path) -> None:
    copy_database(site.state / "orchestrator.db", tmp_path / "copy.db")
    site.give("backup", "create", str(tmp_path / "backup.tar.gz"))
    for words in (("change", "show", CHANGE), ("audit", "trail", CHANGE), ("metrics",)):
        site.give(*words)
    (tmp_path / "said.txt").write_text("\n".join(site.transcript))
    files = files_of(site.folder, site.state, tmp_path, bundle.parent)
    looked_into = {Path(where).name for file in files for where, _ in contents(file)}
    assert {"trail.jsonl", "plan.json", "database.sqlite"} <= looked_into
    assert found_in(files) == []


def test_the_search_would_find_what_is_there(site: Site, tmp_path: Path) -> None:
    """What the careless task said is in the record, without the secret; and a secret that is planted is found."""
    told = [content for file in (site.state / "jobs").rglob("*") if file.is_file() for _, content in contents(file)]
    assert any(b"The password is " in content for content in told)
    planted = pack(tmp_path / "planted.tar.gz", SECRETS["vaulted value"])
    assert found_in([planted]) == [f"vaulted value in {tmp_path}/planted.tar/tasks/one.jsonl"]


# A way back ---------------------------------------------------------------------------------------------------


def test_the_kit_puts_hosts_back_when_the_orchestrator_is_gone(
    carried: Carried, bundle: Path, park: Park, tmp_path: Path
) -> None:
    site, told = carried.site, Loose.of(bundle).said
    before = {name: told[f"packages/{name}.before.json"]["packages"] for name in HOSTS}
    assert [park[name].version("labapp-extra") for name in HOSTS] == ["1.1", "1.1"]
    kit = shutil.copytree(site.state / "kits" / CHANGE, tmp_path / "kit")
    with gone(site, tmp_path):
        done = restored_by_hand(kit, carried.unlock)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {name: park[name].packages() for name in HOSTS} == before
    assert [park[name].count("restore", "restored") for name in HOSTS] == [1, 1]
    assert [park[name].ask() for name in HOSTS] == ["200 labapp 1.0"] * 2


@contextmanager
def gone(site: Site, aside: Path) -> Iterator[None]:
    """Take the orchestrator's folders away for the block."""
    for folder in (site.folder, site.state):
        shutil.move(folder, aside / folder.name)
    try:
        yield
    finally:
        for folder in (site.folder, site.state):
            shutil.move(aside / folder.name, folder)


def restored_by_hand(kit: Path, unlock: Path) -> subprocess.CompletedProcess[str]:
    """Do what the kit's README says, with nothing but Ansible."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | {"LANG": "C.UTF-8"}
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    argv = [program, "--vault-password-file", str(unlock), "playbooks/restore.yml"]
    return subprocess.run(argv, cwd=kit, env=kept, capture_output=True, text=True, check=False)


# Long afterwards ----------------------------------------------------------------------------------------------


def test_restored_database_goes_on_with_hosts_that_know_better(carried: Carried, park: Park) -> None:
    site = carried.site
    park.renew(*HOSTS)  # As the change has left them.
    wait_for("the end of the worker, which has the database open", lambda: not site.has_worker())
    (back,) = site.json("backup", "restore", str(carried.backup), "--over", "--yes")["back"]
    assert (back["was"]["state"], back["now"]["state"]) == ("succeeded", "scheduled")
    again = Site(site.folder.parent)  # The first one looks at the database that was put aside.
    assert again.run(CHANGE).state is ChangeState.SUCCEEDED
    again.give("change", "close", CHANGE, "--yes")
    assert again.statuses(CHANGE) == dict.fromkeys(HOSTS, "done")
    assert [park[name].version("labapp") for name in HOSTS] == ["1.1", "1.1"]
    upgrades = [park[name].run("grep", "-c", " upgrade labapp:", "/var/log/dpkg.log").strip() for name in HOSTS]
    assert upgrades == ["1", "1"], "no host was patched a second time"
    assert [point for point in again.store.points(CHANGE) if point.is_held] == []
    assert "record-went-back" in again.tags(CHANGE)
    again.give("audit", "verify")
    assert found_in(files_of(site.folder, site.state, carried.backup.parent) - {carried.unlock}) == []


def test_host_that_another_installation_has_left_is_adopted(site: Site, park: Park) -> None:
    again, claim = Site(site.folder.parent), "/var/lib/patch-orchestrator/claim.json"
    left = {"installation": "another", "counter": 7, "change": "CHG-0042", "at": 0}
    park["w1"].run("sh", "-c", f"echo '{json.dumps(left)}' > {claim}")
    assert "add --yes" in again.give("host", "adopt", "w1", "--reason", "The old site is gone.").out
    assert json.loads(park["w1"].run("cat", claim)) == left
    again.give("host", "adopt", "w1", "--reason", "The old site is gone.", "--yes")
    assert json.loads(park["w1"].run("cat", claim))["installation"] == again.store.installation()
    assert park["w1"].journal()[-1]["event"] == "adopted"
    adopted = again.store.trail("site")[-1]
    assert (adopted.tag, adopted.actor, adopted.data["reason"]) == ("host-adopted", "olga", "The old site is gone.")


def test_what_a_real_change_left_goes_and_its_evidence_holds(site: Site, tmp_path: Path) -> None:
    again = Site(site.folder.parent)
    before = Path(again.json("audit", "export", CHANGE, "--to", str(tmp_path / "before.tar.gz"))["bundle"])
    assert again.json("housekeeping")["going"] == []
    settings = site.folder / "orchestrator.toml"
    settings.write_text(settings.read_text() + '\n[retention]\nkeep = "1s"\n')
    wait_for("all of it to be a second old", lambda: again.json("housekeeping")["left"] == 0)
    going = again.json("housekeeping")["going"]
    assert {each["kind"] for each in going} == {"job", "kit", "log", "content", "package"}
    done = again.json("housekeeping", "--yes")
    assert (done["problems"], done["left"]) == ([], 0)
    for folder in ("jobs", "kits", "content"):
        assert list((site.state / folder).iterdir()) == []
    after = Path(again.json("audit", "export", CHANGE, "--to", str(tmp_path / "after.tar.gz"))["bundle"])
    assert "files of task events were removed" in judged(again, after).out
    assert "removed" not in judged(again, before).out
    assert after.stat().st_size < before.stat().st_size


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


def files_of(*roots: Path) -> set[Path]:
    return {path for root in roots for path in root.rglob("*") if path.is_file()}


def copy_database(database: Path, target: Path) -> None:
    with sqlite3.connect(database) as source, sqlite3.connect(target) as copy:
        source.backup(copy)
    source.close()
    copy.close()
