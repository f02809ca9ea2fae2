"""What is written down before a job begins, and which secrets are known by then."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.adapters.ansible.controller import Controller
from orchestrator.adapters.ansible.jobdir import JobDir, processes_of, write_whole
from orchestrator.adapters.ansible.order import is_placed, place, search_path
from orchestrator.adapters.ansible.runner import SupervisedRunner
from orchestrator.adapters.ansible.vault import harvest
from orchestrator.domain.inventory import Environment, Secret
from orchestrator.domain.job import HostJob, Job
from orchestrator.errors import Refused, Unavailable

PROGRAMS = Path(sys.executable).parent


@pytest.fixture
def content(tmp_path: Path) -> Path:
    root = tmp_path / "content"
    for folder in ("playbooks", "inventories/production"):
        (root / folder).mkdir(parents=True)
    (root / "ansible.cfg").write_text("[defaults]\n")
    (root / "playbooks" / "scan.yml").write_text("[]\n")
    return root


def job(playbook: str = "scan.yml", **patch_job: str) -> Job:
    return Job(
        id="job-1",
        change="CHG-0001",
        playbook=playbook,
        environment=Environment.PRODUCTION,
        content="0" * 64,
        hosts=(HostJob(host="web1", patch_job=dict(patch_job)),),
        timeout=10,
    )


def test_the_generated_inventory_has_the_batch_and_what_each_host_is_told(tmp_path: Path, content: Path) -> None:
    folder = JobDir(tmp_path / "job-1")
    place(folder, job(change="CHG-0001", version="{{ 7*7 }}"), content, 5, PROGRAMS)
    told = {"change": "CHG-0001", "version": {"__ansible_unsafe": "{{ 7*7 }}"}}
    assert folder.read(folder.inventory) == {"patch_batch": {"hosts": {"web1": {"patch_job": told}}}}


def test_an_id_stands_for_one_work_only_and_what_was_begun_stands(tmp_path: Path, content: Path) -> None:
    folder = JobDir(tmp_path / "job-1")
    assert not is_placed(folder, job())
    place(folder, job(), content, 5, PROGRAMS)
    assert not is_placed(folder, job())
    folder.begin({})
    assert is_placed(folder, job())
    with pytest.raises(Refused, match="Use a new id"):
        is_placed(folder, job("other.yml"))


@pytest.mark.parametrize("playbook", ["none.yml", "../../outside.yml", "/etc/hostname"])
def test_only_playbooks_of_the_content_are_run(tmp_path: Path, content: Path, playbook: str) -> None:
    (tmp_path / "outside.yml").write_text("[]\n")
    with pytest.raises(Unavailable, match="not among the playbooks"):
        place(JobDir(tmp_path / "job-1"), job(playbook), content, 5, PROGRAMS)
    assert not (tmp_path / "job-1").exists()


def test_content_without_its_inventory_is_told(tmp_path: Path, content: Path) -> None:
    (content / "inventories/production").rmdir()
    with pytest.raises(Unavailable, match="inventories/production, which is not there"):
        place(JobDir(tmp_path / "job-1"), job(), content, 5, PROGRAMS)


def test_ansible_beside_our_own_python_comes_first() -> None:
    assert search_path("/usr/bin", PROGRAMS) == f"{PROGRAMS}:/usr/bin"
    assert search_path("", PROGRAMS).startswith(f"{PROGRAMS}:")


def test_a_supervisor_inherits_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_DATABASE_PASSWORD", "hunter2")
    monkeypatch.setenv("ANSIBLE_FORKS", "99")
    runner = SupervisedRunner(jobs=tmp_path, content_root=Path, controller=Controller(environment={"SITE": "here"}))
    variables = runner._variables()
    assert "ORCHESTRATOR_DATABASE_PASSWORD" not in variables
    assert "ANSIBLE_FORKS" not in variables
    assert (variables["SITE"], "HOME" in variables, "LANG" in variables) == ("here", True, True)


def test_only_one_holds_a_job_and_only_one_begins_it(tmp_path: Path) -> None:
    one, other = JobDir(tmp_path), JobDir(tmp_path)
    with one.held() as first, other.held() as second:
        assert (first, second, other.is_carried()) == (True, False, True)
    assert not one.is_carried()
    assert one.begin({"pid": 1})
    assert not other.begin({"pid": 2})
    assert one.read(one.started) == {"pid": 1}


def test_a_file_is_written_privately_and_whole(tmp_path: Path) -> None:
    write_whole(tmp_path / "file", b"new")
    assert [f.name for f in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


def test_processes_of_a_job_are_found_by_their_environment(tmp_path: Path) -> None:
    folder = JobDir(tmp_path)
    name, _, value = folder.marker.partition("=")
    child = subprocess.Popen(["sleep", "60"], env={**os.environ, name: value})
    try:
        assert processes_of(folder) == [child.pid]
        assert processes_of(JobDir(tmp_path / "other")) == []
    finally:
        child.kill()
        child.wait()


def test_open_passwords_are_harvested_by_their_names(content: Path) -> None:
    group = content / "inventories/production/group_vars"
    group.mkdir()
    (group / "all.yml").write_text("ansible_become_password: open-sesame\nansible_user: admin\nport: 8080\n")
    (content / "inventories/production/hosts").write_text(
        "web1 ansible_ssh_pass='two words' ansible_host=web1.example\nweb2 ansible_password={{ vaulted }}\n"
    )
    assert harvest(content, Secret("")) == {"open-sesame", "two words"}


def test_vaulted_files_give_all_that_is_secret_in_them(content: Path, tmp_path: Path) -> None:
    file = content / "inventories/production/secrets.yml"
    file.write_text(
        "database: {password: db-pass, port: 5432, pin: 987654}\nansible_user: admin\nenabled: true\n"
        "tokens: [one-token, two-token]\nlater: '{{ other }}'\nansible_become_pass: su-pass\n"
    )
    key = content / "key.pem"
    key.write_text("-----BEGIN KEY-----\nabcdefgh\n-----END KEY-----\n")
    password = tmp_path / "password"
    password.write_text("vault-password")
    command = [str(Path(sys.executable).parent / "ansible-vault"), "encrypt", "--vault-password-file", str(password)]
    subprocess.run([*command, str(file), str(key)], check=True, capture_output=True)
    found = harvest(content, Secret("vault-password"))
    assert found == {
        "db-pass", "987654", "one-token", "two-token", "su-pass",
        "-----BEGIN KEY-----\nabcdefgh\n-----END KEY-----\n",
    }  # fmt: skip
    assert harvest(content, Secret("")) == set()


def test_orders_are_plain_json(tmp_path: Path, content: Path) -> None:
    folder = JobDir(tmp_path / "job-1")
    place(folder, job(), content, 5, PROGRAMS)
    assert json.loads(folder.order.read_text())["hosts"] == ["web1"]
