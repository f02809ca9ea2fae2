"""The rollback kit works with nothing but ansible-playbook, and holds nothing that was decrypted."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.adapters.ansible.content import SiteContent
from orchestrator.adapters.ansible.kit import FolderKit
from orchestrator.adapters.ansible.programs import Programs
from orchestrator.domain.calendar import MaintenanceWindow
from orchestrator.domain.canonical import Plain
from orchestrator.domain.change import ChangeSpec
from orchestrator.domain.inventory import Connection, Host, Secret
from orchestrator.domain.lock import PatchLock, Platform
from orchestrator.domain.plan import Content, HostPlan, PatchPlan
from orchestrator.domain.rollback import Statefulness
from orchestrator.errors import Unavailable

BIN = Path(sys.executable).parent
#: An older ansible-core, installed by script/bootstrap --dev.
LEGACY = Path(sys.prefix) / "ansible-2.16"
#: Restoring, as far as a kit is concerned: what it was told for which host ends up in a file.
RESTORE = """
- hosts: patch_batch
  gather_facts: false
  tasks:
    - ansible.builtin.include_role: {name: back}
"""
BACK = """
- ansible.builtin.copy:
    content: "{{ patch_job.change }} {{ patch_job.token.counter }} {{ patch_job.exclude[0] }} {{ colour }} {{ role }}"
    dest: "{{ out }}/{{ inventory_hostname }}"
    mode: "0600"
  delegate_to: localhost
"""
HOSTS = """
all:
  children:
    web:
      hosts:
        web1: {ansible_host: 192.0.2.1}
        web2: {ansible_host: 192.0.2.2}
        other: {ansible_host: 192.0.2.3}
      vars: {role: "{{ group_names[-1] }}"}
"""
HOSTS_OF_PLAN = {
    f"web{number}": Host(name=f"web{number}", connection=Connection(address=f"192.0.2.{number}")) for number in (1, 2)
}
ADDRESSES = [(host.name, host.connection.address) for host in HOSTS_OF_PLAN.values()]


class Site:
    """A site in a folder with its state beside it, and the parts that belong to it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.state, self.out = folder / "site", folder / "state", folder / "out"
        self.out.mkdir(parents=True)
        self.write("ansible.cfg", "[defaults]\nroles_path = roles\nvault_password_file = /no/such/file\n")
        self.write("playbooks/restore.yml", RESTORE)
        self.write("roles/back/tasks/main.yml", BACK)
        self.write("inventories/production/hosts.yml", HOSTS)
        self.write("inventories/production/group_vars/web.yml", f"colour: blue\nout: {self.out}\n")
        self.content = SiteContent(site=self.folder, state=self.state, site_key=b"key")
        self.kit = FolderKit(state=self.state, frozen=self.content.root, vault_password=Secret("pw"))

    def write(self, path: str, text: str) -> Path:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def frozen(self) -> Content:
        content = self.content.read()
        self.content.freeze(content)
        return content

    def written(self, counter: int = 17, hosts: Mapping[str, Host] | None = None) -> Path:
        return self.kit.write(
            plan(self.frozen()),
            HOSTS_OF_PLAN if hosts is None else hosts,
            {name: job(counter) for name in ("web1", "web2")},
        )


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture(scope="module")
def plain_kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a kit of a site without secrets or snapshots, to look at."""
    return Site(tmp_path_factory.mktemp("plain")).written()


def job(counter: int) -> dict[str, Plain]:
    return {
        "change": "CHG-0001",
        "token": {"installation": "abc", "counter": counter, "seen": 4},
        "items": [],
        "exclude": ["{{ 7 * 7 }}*"],
        "packages_dir": "/state/packages",
    }


def plan(content: Content, **web2: object) -> PatchPlan:
    platform = Platform(family="apt", distribution="debian", release="12", arch="amd64")
    window = MaintenanceWindow(start="2026-11-20T22:00", zone="UTC", duration=timedelta(1), cutoff=timedelta(0))
    hosts = tuple(HostPlan(host=name, platform=platform, items=()) for name in ("web1", "web2"))
    return PatchPlan(
        change="CHG-0001",
        spec=ChangeSpec(title="November updates", production="web", staging="web", window=window),
        content=content,
        waves=(),
        hosts=(hosts[0], replace(hosts[1], **web2)),  # type: ignore[arg-type]
        not_included=(),
        lock=PatchLock(),
    )


def restore(kit: Path, *more: str, programs: Path = BIN) -> subprocess.CompletedProcess[str]:
    """Do what README.txt says, in a shell that knows nothing of us."""
    line = [str(programs / "ansible-playbook"), "-i", "inventory", "playbooks/restore.yml", *more]
    home = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "LC_ALL": "C.UTF-8"}
    return subprocess.run(line, cwd=kit, env=home, capture_output=True, text=True, check=False)


def gone(site: Site, kit: Path) -> Path:
    """Take the kit elsewhere, and everything else away."""
    copy = site.out.parent / "usb stick"
    shutil.copytree(kit, copy)
    for folder in (site.folder, site.state):
        shutil.rmtree(folder)
    return copy


def test_kit_restores_with_everything_else_gone(site: Site) -> None:
    kit = gone(site, site.written())
    one = restore(kit, "--limit", "web2", "-e", "patch_token=99")
    assert one.returncode == 0, one.stdout + one.stderr
    assert [file.name for file in site.out.iterdir()] == ["web2"]
    assert (site.out / "web2").read_text().startswith("CHG-0001 99 ")

    assert restore(kit).returncode == 0
    assert sorted(file.name for file in site.out.iterdir()) == ["web1", "web2"]
    assert (site.out / "web1").read_text() == "CHG-0001 17 {{ 7 * 7 }}* blue web"


def test_writing_again_brings_the_newest_token_and_keeps_hosts_without_asking_ansible(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit = site.written(17)
    monkeypatch.setattr(Programs, "_program", lambda programs, name: pytest.fail(f"{name} was run"))
    site.kit.write(plan(site.frozen()), HOSTS_OF_PLAN, {"web1": job(18)})
    batch = (kit / "inventory/patch_batch-001.json").read_text()
    assert "default(18)" in batch
    assert sorted(json.loads(batch)["patch_batch"]["hosts"]) == ["web1", "web2"]


def test_nothing_is_pushed_from_a_controller_that_may_be_gone(plain_kit: Path) -> None:
    assert "/state/packages" not in (plain_kit / "inventory/patch_batch-001.json").read_text()


def test_what_an_earlier_plan_left_is_removed(site: Site) -> None:
    site.write("playbooks/old.yml", "[]\n")
    assert (site.written() / "playbooks/old.yml").exists()
    (site.folder / "playbooks/old.yml").unlink()
    assert not (site.written() / "playbooks/old.yml").exists()


def test_nobody_else_may_read_it(plain_kit: Path) -> None:
    files = [plain_kit, *(file for file in plain_kit.rglob("*") if file.is_file())]
    assert {file.stat().st_mode & 0o077 for file in files} == {0}


def vault(password: Path, action: str, *more: str) -> str:
    line = [str(BIN / "ansible-vault"), action, "--vault-password-file", str(password), *more]
    return subprocess.run(line, check=True, capture_output=True, text=True).stdout


def test_nothing_vaulted_is_decrypted(site: Site, tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("pw")
    inline = vault(tmp_path / "pw", "encrypt_string", "s3cret", "--name", "ansible_password")
    site.write("inventories/production/extra.yml", "web:\n  vars:\n    " + inline.replace("\n", "\n    ") + "\n")
    whole = site.write("inventories/production/group_vars/web.yml", f"colour: s3cret\nout: {site.out}\n")
    vault(tmp_path / "pw", "encrypt", str(whole))
    kit = site.written()
    held = {str(file): file.read_text() for file in kit.rglob("*") if file.is_file()}
    assert not [name for name, text in held.items() if "s3cret" in text]
    assert "--ask-vault-pass" in (kit / "README.txt").read_text()
    done = restore(kit, "--vault-password-file", str(tmp_path / "pw"), "-e", "ansible_host=x")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (site.out / "web1").read_text().endswith("s3cret web")


def test_hosts_file_that_is_vaulted_as_a_whole_is_refused(site: Site) -> None:
    site.write("inventories/production/more", "$ANSIBLE_VAULT;1.1;AES256\n6162\n")
    with pytest.raises(Unavailable, match="inventories/production/more is vaulted as a whole"):
        site.written()


def test_playbook_that_cannot_be_loaded_is_noticed_before_any_host_is_touched(site: Site) -> None:
    site.write("playbooks/restore.yml", "- hosts: patch_batch\n  roles: [nowhere]\n")
    with pytest.raises(Unavailable, match=r"CHG-0001(.|\n)*nowhere"):
        site.written()


def test_playbook_that_leaves_hosts_out_is_noticed(site: Site) -> None:
    site.write("playbooks/restore.yml", RESTORE.replace("patch_batch", "patch_batch:!web2"))
    with pytest.raises(Unavailable, match="leaves out web2"):
        site.written()


def test_kit_that_failed_is_written_in_full_the_next_time(site: Site, plain_kit: Path) -> None:
    good = (site.folder / "playbooks/restore.yml").read_text()
    site.write("playbooks/restore.yml", "- hosts: patch_batch\n  roles: [nowhere]\n")
    with pytest.raises(Unavailable):
        site.written()
    site.write("playbooks/restore.yml", good)
    kit = site.written()
    assert [file.relative_to(kit) for file in sorted(kit.rglob("*"))] == [
        file.relative_to(plain_kit) for file in sorted(plain_kit.rglob("*"))
    ]
    assert (kit / "playbooks/restore.yml").read_text() == good


def test_hosts_are_known_by_the_kits_own_file(site: Site, tmp_path: Path) -> None:
    known, said = tmp_path / "known", tmp_path / "said"
    known.write_text("192.0.2.1 ssh-ed25519 AAAA\n")
    site.state.mkdir()
    (site.state / "known_hosts").write_text("192.0.2.2 ssh-ed25519 BBBB\n")
    tool = site.write("ssh", f'#!/bin/sh\necho "$PWD $*" >> {said}\nexit 255\n')
    tool.chmod(0o755)
    options = f"ansible_ssh_common_args: -o UserKnownHostsFile={known}\nansible_ssh_executable: {tool}\n"
    site.write("inventories/production/group_vars/web.yml", f"colour: blue\nout: {site.out}\n{options}")
    site.write("roles/back/tasks/main.yml", "- ansible.builtin.ping:\n")
    connection = replace(HOSTS_OF_PLAN["web1"].connection, known_hosts=str(known), key_file="/keys/own")
    kit = site.written(hosts={"web1": replace(HOSTS_OF_PLAN["web1"], connection=connection)})
    restore(kit, "--limit", "web1")
    assert (kit / "known_hosts").read_text() == "192.0.2.2 ssh-ed25519 BBBB\n192.0.2.1 ssh-ed25519 AAAA\n"
    line = said.read_text().splitlines()[0]
    assert line.startswith(f"{kit} ")
    assert line.index("UserKnownHostsFile=known_hosts ") < line.index(f"UserKnownHostsFile={known}")
    assert 'IdentityFile="/keys/own"' in line
    assert "/keys/own" in (kit / "README.txt").read_text()


def snapshots(site: Site, state: Statefulness = Statefulness.STATEFUL) -> Path:
    lines = {"lab": lambda host, change: ("touch", f"{site.out}/{host.name} {change}; it's")}
    kit = replace(site.kit, restore_lines=lines)
    made = plan(site.frozen(), providers=("packages", "lab"), statefulness=state)
    return kit.write(made, HOSTS_OF_PLAN, {name: job(1) for name in ("web1", "web2")})


def run_script(kit: Path, *hosts: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "restore-snapshots.sh", *hosts], cwd=kit, capture_output=True, text=True, check=False)


def test_snapshots_are_put_back_by_the_exact_command_of_the_host(site: Site) -> None:
    kit = snapshots(site)
    done = run_script(kit, "web2")
    assert (done.returncode, done.stdout) == (0, "web2: put back\n")
    assert [file.name for file in site.out.iterdir()] == ["web2 CHG-0001; it's"]
    assert "THE WHOLE MACHINE" in (kit / "README.txt").read_text()

    done = run_script(kit, "web1", "web2")
    assert done.returncode == 1
    assert "web1: NOT put back" in done.stderr, "it has no snapshot"
    assert done.stdout == "web2: put back\n"


def test_directory_server_is_never_put_back_to_a_snapshot(site: Site) -> None:
    done = run_script(snapshots(site, Statefulness.DIRECTORY), "web2")
    assert done.returncode == 1
    assert list(site.out.iterdir()) == []


def test_kit_without_snapshots_has_no_script(plain_kit: Path) -> None:
    assert not (plain_kit / "restore-snapshots.sh").exists()
    assert "THE WHOLE MACHINE" not in (plain_kit / "README.txt").read_text()


def test_readme_tells_the_command_and_the_hosts(plain_kit: Path) -> None:
    text = (plain_kit / "README.txt").read_text()
    assert f"cd {plain_kit} && ansible-playbook -i inventory playbooks/restore.yml\n" in text
    assert "playbooks/restore.yml --limit HOST\n" in text
    assert all(any(name in line and address in line for line in text.splitlines()) for name, address in ADDRESSES)
    assert max(map(len, text.splitlines())) < 130 + len(str(plain_kit))


def test_readme_says_which_hosts_may_be_out_of_service(site: Site, plain_kit: Path) -> None:
    jobs = {name: {**job(17), "drain": "patch_drain_haproxy"} for name in ("web1", "web2")}
    kit = site.kit.write(plan(site.frozen(), drain="patch_drain_haproxy"), HOSTS_OF_PLAN, jobs)
    text = (kit / "README.txt").read_text()
    assert "  - web2 (by the role patch_drain_haproxy)\n" in text
    assert "ansible-playbook -i inventory playbooks/undrain.yml --limit HOST\n" in text
    assert "DRAINED" not in (plain_kit / "README.txt").read_text()


def with_two_ansibles(site: Site) -> Path:
    kit = replace(site.kit, installations={"legacy-2": LEGACY})
    content = replace(site.frozen(), versions={"ansible-core": "2.19.4", "legacy-2/ansible-core": "2.16.19"})
    frozen = site.content.root(site.frozen().digest)
    kit = replace(kit, frozen=lambda digest: frozen)
    return kit.write(plan(content, ansible="legacy-2"), HOSTS_OF_PLAN, {name: job(17) for name in ("web1", "web2")})


def readme_says_which_ansible_puts_which_hosts_back(kit: Path) -> None:
    text = (kit / "README.txt").read_text()
    there = f"cd {kit} && "
    assert f"{there}ansible-playbook -i inventory playbooks/restore.yml --limit patch_ansible_default\n" in text
    command = f"{there}{LEGACY}/bin/ansible-playbook -i inventory playbooks/restore.yml --limit patch_ansible_legacy_2"
    assert f"{command}\n" in text
    assert f"for the hosts of patch_ansible_legacy_2: ansible-core 2.16.19 (it was in {LEGACY}/bin)" in text
    rows = {line.split()[0]: line.split()[-1] for line in text.splitlines() if line.startswith("  web")}
    assert rows == {"web1": "patch_ansible_default", "web2": "patch_ansible_legacy_2"}


def test_hosts_that_need_another_ansible_are_put_back_by_it(site: Site) -> None:
    written = with_two_ansibles(site)
    readme_says_which_ansible_puts_which_hosts_back(written)
    kit = gone(site, written)
    done = restore(kit, "--limit", "patch_ansible_legacy_2", programs=LEGACY / "bin")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [file.name for file in site.out.iterdir()] == ["web2"]
    restore(kit, "--limit", "patch_ansible_default")
    assert sorted(file.name for file in site.out.iterdir()) == ["web1", "web2"]


def test_hosts_of_every_source_are_in_the_group_of_their_ansible(site: Site) -> None:
    few = plan(site.frozen(), ansible="legacy-2")
    others = (replace(few.hosts[1], host=f"old{number}") for number in range(49))
    many = replace(few, hosts=(few.hosts[1], *others, few.hosts[0]))
    jobs = {"web1": job(17), "web2": job(17)}
    kit = replace(site.kit, installations={"legacy-2": LEGACY}).write(many, HOSTS_OF_PLAN, jobs)
    source = json.loads((kit / "inventory/patch_batch-002.json").read_text())
    assert source["patch_ansible_default"] == {"hosts": {"web1": {}}}


def test_kit_whose_ansible_is_gone_is_noticed_before_any_host_is_touched(site: Site) -> None:
    kit = replace(site.kit, installations={"legacy": site.out / "gone"})
    with pytest.raises(Unavailable, match=r"ansible-playbook is not installed in .*gone/bin"):
        kit.write(plan(site.frozen(), ansible="legacy"), HOSTS_OF_PLAN, {"web1": job(1), "web2": job(1)})


def test_host_that_the_frozen_inventory_does_not_know_is_refused(site: Site) -> None:
    hosts = HOSTS_OF_PLAN | {"stranger": replace(HOSTS_OF_PLAN["web1"], name="stranger")}
    with pytest.raises(Unavailable, match="the frozen inventory has no stranger"):
        site.written(hosts=hosts)
