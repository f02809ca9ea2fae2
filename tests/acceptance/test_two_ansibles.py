"""One change over hosts that need different versions of Ansible, each worked on by the version that the plan names."""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path

import pytest

from lab.packages import Package
from orchestrator.adapters.ansible.jobdir import JobDir
from orchestrator.domain.change import ChangeState
from tests.acceptance.machines import Park
from tests.acceptance.site import Site

pytestmark = pytest.mark.lab

#: Installed by script/bootstrap --dev.
LEGACY = Path(sys.prefix) / "ansible-2.16"
#: Says on each host, before it is patched, which Ansible is at work.
WHO = """
- name: Tell which Ansible is at work
  hosts: patch_batch
  gather_facts: false
  become: true
  tasks:
    - name: Tell which Ansible is at work
      ansible.builtin.copy:
        content: "{{ ansible_version.full }}"
        dest: /var/lib/ansible-at-work
        mode: "0600"
"""


@pytest.fixture(scope="module")
def site(park: Park, tmp_path_factory: pytest.TempPathFactory) -> Site:
    park.lab.repository.publish(Package(name="labapp", version="1.0"))
    park.up("s1", "new", "old", packages=("labapp",))
    park.lab.repository.publish(Package(name="labapp", version="1.1"))
    site = Site.found(tmp_path_factory.mktemp("two"))
    settings = site.folder / "orchestrator.toml"
    settings.write_text(f'{settings.read_text()}\n[ansible.installations.legacy]\npath = "{LEGACY}"\n')
    for name in ("patch", "restore"):
        playbook = site.folder / f"playbooks/{name}.yml"
        playbook.write_text(playbook.read_text() + WHO)
    # The rehearsal is done by the old one, production by both.
    site.inventory("staging", park.lab, {"s1": {"patch_ansible": "legacy"}})
    site.inventory("production", park.lab, {"new": {}, "old": {"patch_ansible": "legacy"}})
    return site


def test_each_host_is_patched_and_put_back_by_the_ansible_that_the_plan_names(site: Site, park: Park) -> None:
    change = site.scheduled({})
    plan = site.store.plan(site.change(change).digest)
    planned = {host.host: plan.content.versions_of(host.ansible)["ansible-core"] for host in plan.hosts}
    assert planned["old"].startswith("2.16.")
    assert planned["new"] != planned["old"]
    shown = site.give("change", "plan", change).out
    assert f"ansible-core {planned['old']} and no collections, for old" in shown

    ended = site.run(change)
    assert ended.state is ChangeState.SUCCEEDED, ended.issues
    assert at_work(park, "new", "old") == planned
    assert at_work(park, "s1")["s1"] == planned["old"]
    assert {name: park[name].version("labapp") for name in planned} == {"new": "1.1", "old": "1.1"}
    folders = [JobDir(site.state / "jobs" / f"{change}.l1.w1.b1.patch.part{number}") for number in (1, 2)]
    orders = [folder.read(folder.order) for folder in folders]
    assert [(order["hosts"], order["ansible"]) for order in orders] == [(["new"], ""), (["old"], "legacy")]

    for name in planned:
        park[name].run("rm", "/var/lib/ansible-at-work")
    readme = (site.state / "kits" / change / "README.txt").read_text()
    assert f"{LEGACY}/bin/ansible-playbook -i inventory playbooks/restore.yml --limit patch_ansible_legacy" in readme
    site.give("change", "rollback", change, "--reason", "Back to what it was.", "--yes")
    assert site.ended(change).state is ChangeState.ROLLED_BACK
    assert at_work(park, "new", "old") == planned
    assert {name: park[name].version("labapp") for name in planned} == {"new": "1.0", "old": "1.0"}

    site.give("change", "close", change, "--yes")
    exported = str(site.json("audit", "export", change)["bundle"])
    site.give("audit", "verify", exported, "--key", str(site.state / "signing-key.pub.pem"))
    events = f"tasks/{change}.l1.w1.b1.patch.part2.events.jsonl.gz"
    with tarfile.open(exported) as bundle:
        assert events in bundle.getnames()


def test_doctor_starts_each_installation_and_reads_the_inventory_with_it(site: Site) -> None:
    said = site.give("doctor", code=None).out
    assert "ansible legacy" in said
    assert f"in {LEGACY}" in said
    assert "reads its hosts of production as the controller's own does" in said


def test_a_host_that_asks_for_an_unknown_ansible_is_told_before_staging_begins(site: Site) -> None:
    hosts = site.edit_hosts("production")
    hosts["hosts"]["old"]["patch_ansible"] = "lgacy"
    site.rewrite_hosts("production", hosts)
    change = site.submit({"title": "Another test"})
    site.give("change", "stage", change, "--yes", code=None)
    assert site.ended(change).state is ChangeState.REQUESTED
    told = site.told(change, "staging-failed")
    assert "old: patch_ansible is 'lgacy'" in told
    assert "there are: default, legacy" in told


def at_work(park: Park, *names: str) -> dict[str, str]:
    return {name: park[name].run("cat", "/var/lib/ansible-at-work").strip() for name in names}
