"""`orchestrator backup` on a real site: back and forth, and nothing that was seen is handed out again."""

from __future__ import annotations

import gzip
import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.adapters.ansible.jobdir import JobDir
from orchestrator.domain.audit import SITE
from orchestrator.domain.change import ChangeState
from orchestrator.domain.identity import ORCHESTRATOR
from orchestrator.domain.lifecycle import ChangeEvent, advance
from orchestrator.engine.worker import only_one
from orchestrator.flow import evidencing
from tests.commands import NOW, Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site.found(tmp_path)


def backed_up(site: Site) -> str:
    file = site.folder.parent / "backup.tar.gz"
    site.wired.backups.create(file, NOW)
    return str(file)


def gone_on(site: Site) -> None:
    """Move the first change on, and enter a second one that nobody has backed up."""
    with site.store.begin() as writing:
        writing.move(advance(site.store.change("CHG-0001"), ChangeEvent.STAGING_STARTED, at=NOW, actor=ORCHESTRATOR))
    site.open()


def test_backup_is_made_and_checked_and_entered(site: Site, tmp_path: Path) -> None:
    site.cancelled(days_ago=3)
    (tmp_path / "backups").mkdir()
    file = site.give("backup", "create", str(tmp_path / "backups"), "--json").json["file"]
    assert "It is whole" in site.give("backup", "check", file).out
    assert site.store.trail(SITE)[-1].tag == "backup-created"


def test_restore_shows_what_would_go_back_and_does_nothing_without_the_word(site: Site) -> None:
    site.open()
    file = backed_up(site)
    gone_on(site)
    said = site.give("backup", "restore", file, "--over")
    assert "CHG-0001 is staging now and would be requested again" in said.err
    assert "CHG-0002 is requested now and would be not known any more" in said.err
    assert "Nothing was done" in said.out
    assert len(site.store.changes()) == 2


def test_restore_over_a_database_needs_to_be_told(site: Site) -> None:
    site.open()
    file = backed_up(site)
    refused = site.give("backup", "restore", file, "--yes", code=4)
    assert "there is a database with 1 changes. To put the backup in its place: --over" in refused.err


def test_restored_site_says_what_went_back_and_draws_nothing_twice(site: Site) -> None:
    site.open()
    file = backed_up(site)
    gone_on(site)
    with site.store.begin() as writing:
        drawn = writing.lease(["web1"], "CHG-0001", now=NOW, hold=timedelta())
    told = site.give("backup", "restore", file, "--over", "--yes", "--json").json
    again = Site(folder=site.folder, state=site.state)
    assert [(c.id, c.state) for c in again.store.changes()] == [("CHG-0001", ChangeState.REQUESTED)]
    assert [back["change"] for back in told["back"]] == ["CHG-0001", "CHG-0002"]
    with again.store.begin() as writing:
        assert writing.lease(["web1"], "CHG-0001", now=NOW, hold=timedelta()) > drawn + 1000
    assert again.store.next_change_id() == "CHG-1001"
    assert again.store.trail("CHG-0001")[-1].tag == "record-went-back"
    event = again.store.trail(SITE)[-1]
    assert (event.tag, event.data["token"]) == ("database-restored", told["counters"]["token"])
    assert Path(told["kept"]).exists()
    again.give("audit", "verify")


def test_what_the_state_folder_shows_counts_though_the_database_is_lost(site: Site) -> None:
    site.open()
    file = backed_up(site)
    job = JobDir(site.state / "jobs" / "CHG-0041.w1b1.patch")
    job.create()
    hosts = {"web1": {"patch_job": {"token": {"installation": "x", "counter": 2_000_000}}}}
    job.write(job.inventory, {"patch_batch": {"hosts": hosts}})
    job.write(job.order, {"change": "CHG-0041"})
    (site.state / "orchestrator.db").unlink()
    told = site.give("backup", "restore", file, "--yes", "--json").json
    assert told["counters"] == {"token": 3_000_000, "change": 1000}
    assert told["worked_since"] == ["CHG-0041"]


def test_checkpoints_go_on_after_those_that_were_sent_outside(site: Site, tmp_path: Path) -> None:
    site.set('[retention]\nkeep = "400d"')
    settings = site.folder / "orchestrator.toml"
    settings.write_text(
        settings.read_text().replace("# checkpoint_file =", f'checkpoint_file = "{tmp_path}/outside" #')
    )
    site.cancelled(days_ago=3)
    file = backed_up(site)
    for _ in range(2):
        evidencing.checkpoint("CHG-0001", site.wired.ledger, site.wired.notary)
    (site.state / "orchestrator.db").unlink()
    site.give("backup", "restore", file, "--yes")
    site.give("audit", "checkpoint")
    lines = [json.loads(line)["checkpoint"] for line in (tmp_path / "outside").read_text().splitlines()]
    assert [line["seq"] for line in lines] == [1, 2, 3]
    assert len({line["prev"] for line in lines}) == 3


def test_new_site_can_sign_its_heads_before_anything_has_happened(site: Site) -> None:
    assert '"seq":1,"size":0' in site.give("audit", "checkpoint").out


def test_state_folder_that_is_not_there_is_said(site: Site) -> None:
    file = backed_up(site)
    site.state.rename(site.state.with_name("elsewhere"))
    assert "cannot be put in the place of" in site.give("backup", "restore", file, "--yes", code=7).err


def test_nothing_is_restored_while_somebody_is_at_work(site: Site) -> None:
    site.open()
    file = backed_up(site)
    job = JobDir(site.state / "jobs" / "CHG-0001.w1b1.patch")
    job.create()
    job.begin({"pid": 1})
    with only_one(site.wired.carriers.lock), job.held():
        refused = site.give("backup", "restore", file, "--over", "--yes", code=4)
    assert "a worker, CHG-0001.w1b1.patch is at work" in refused.err
    assert len(site.store.changes()) == 1


def test_damaged_backup_is_refused_and_the_database_stays(site: Site) -> None:
    site.open()
    file = Path(backed_up(site))
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    file.write_bytes(raw)
    assert "damaged" in site.give("backup", "check", str(file), code=8).err
    site.give("backup", "restore", str(file), "--over", "--yes", code=8)
    assert len(site.store.changes()) == 1


def test_damaged_database_is_replaced_where_that_is_said(site: Site) -> None:
    site.open()
    file = backed_up(site)
    (site.state / "orchestrator.db").write_text("this is no database any more, and long enough to be seen as such" * 9)
    assert "cannot be opened" in site.give("backup", "restore", file, "--yes", code=4).err
    site.give("backup", "restore", file, "--yes", "--over")
    assert len(Site(folder=site.folder, state=site.state).store.changes()) == 1


def test_backup_holds_no_secret(site: Site, tmp_path: Path) -> None:
    """Neither those that the settings lead to, nor the keys of the installation."""
    password = tmp_path / "vault-password"
    password.write_text("Vault-unlock-5tGb8nHm\n")
    password.chmod(0o600)
    site.set(f'[ansible]\nvault_password = {{file = "{password}"}}\n[secrets]\ntoken = {{env = "TOKEN"}}')
    site.cancelled(days_ago=3)
    (tmp_path / "backups").mkdir()
    site.give("backup", "create", str(tmp_path / "backups"), TOKEN="host-token-9oLp3eDc")
    (file,) = (tmp_path / "backups").iterdir()
    secrets = [password.read_bytes().strip(), b"host-token-9oLp3eDc", (site.state / "site.key").read_bytes().strip()]
    secrets += [line for line in (site.state / "signing-key.pem").read_bytes().splitlines() if b"-----" not in line]
    archive = gzip.decompress(file.read_bytes())
    assert (b"manifest.json" in archive, b"SQLite format 3" in archive, b"CHG-0001" in archive) == (True, True, True)
    assert [secret for secret in secrets if secret in archive] == []


def test_backup_is_consistent_while_others_write(site: Site) -> None:
    """A writer that never stops leaves no half transaction in a backup."""
    site.open()
    program = (
        "import sys, sqlite3; db = sqlite3.connect(sys.argv[1], timeout=30)\n"
        "while True:\n"
        "    with db: db.execute('UPDATE change SET title = title || 1'); db.execute('UPDATE outbox SET seq = seq')\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", program, str(site.state / "orchestrator.db")])
    try:
        file = backed_up(site)
    finally:
        writer.kill()
        writer.wait()
    site.give("backup", "check", file)
    with closing(sqlite3.connect(site.state / "orchestrator.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
