"""Three package managers and two versions of Ansible in one change: a lock for each platform, a run for each version.

The dnf hosts are worked on by an older Ansible, have a package that asks for a reboot, and an updater of their own.
"""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path

import pytest

from lab.host import Family
from lab.packages import Package
from orchestrator.adapters.ansible.jobdir import JobDir
from orchestrator.domain.change import ChangeState
from tests.acceptance.machines import Machine, Park, as_soon_as
from tests.acceptance.site import Site

pytestmark = pytest.mark.lab

#: Staging and production host of each family.
HOSTS: dict[Family, tuple[str, str]] = {"apt": ("sa", "wa"), "dnf": ("sd", "wd"), "zypper": ("sz", "wz")}
WEB = tuple(production for _, production in HOSTS.values())
#: Those that the older Ansible works on; it is installed by script/bootstrap --dev.
OLD = HOSTS["dnf"]
LEGACY = Path(sys.prefix) / "ansible-2.16"
RIVALS = {
    "wa": ("apt-daily.timer", "apt-daily-upgrade.timer", "unattended-upgrades.service"),
    "wd": ("dnf-automatic.timer",),
}
#: Says on each host, before it is patched, which Ansible is at work.
WHO = """
- name: Tell which Ansible is at work
  hosts: patch_batch
  gather_facts: false
  become: true
  tasks:
    - name: Tell which Ansible is at work
      ansible.builtin.raw: echo {{ ansible_version.full }} >/var/lib/ansible-at-work
"""


@pytest.fixture(scope="module")
def site(park: Park, tmp_path_factory: pytest.TempPathFactory) -> Site:
    publish(park, "1.0")
    for family, (staging, production) in HOSTS.items():
        packages = ("labapp", "labboot") if family == "dnf" else ("labapp",)
        park.up(staging, packages=packages, family=family)
        has_rival = production in RIVALS
        park.up(production, packages=packages, family=family, rival_updaters=has_rival, no_archive=not has_rival)
    publish(park, "1.1")
    site = Site.found(tmp_path_factory.mktemp("mixed"))
    settings = site.folder / "orchestrator.toml"
    settings.write_text(f'{settings.read_text()}\n[ansible.installations.legacy]\npath = "{LEGACY}"\n')
    for name in ("patch", "restore"):
        playbook = site.folder / f"playbooks/{name}.yml"
        playbook.write_text(playbook.read_text() + WHO)
    for at, environment in enumerate(("staging", "production")):
        names = [pair[at] for pair in HOSTS.values()]
        site.inventory(
            environment, park.lab, {name: {"patch_ansible": "legacy"} if name in OLD else {} for name in names}
        )
    return site


@pytest.fixture(scope="module")
def change(site: Site) -> str:
    """Give a change that was proved on a host of each platform, approved and scheduled."""
    return site.scheduled({"packages": ["labapp", "labboot"], "reboot": "if-required"})


def publish(park: Park, version: str) -> None:
    park.lab.repository.publish(
        Package(name="labapp", version=version),
        Package(name="labboot", version=version, behaviour="good" if version == "1.0" else "needs-reboot"),
    )


def test_the_plan_locks_each_platform_and_names_the_ansible_of_each_host(site: Site, change: str) -> None:
    plan = site.store.plan(site.change(change).digest)
    assert {lock.platform.family for lock in plan.lock.platforms} == {"apt", "dnf", "zypper"}
    assert {host.host: sorted(item.name for item in host.items) for host in plan.hosts} == {
        "wa": ["labapp"],
        "wd": ["labapp", "labboot"],
        "wz": ["labapp"],
    }
    versions = planned(site, change)
    assert versions["wd"].startswith("2.16.")
    assert versions["wa"] == versions["wz"] != versions["wd"]
    assert f"ansible-core {versions['wd']} and no collections, for wd" in site.give("change", "plan", change).out
    readme = (site.state / "kits" / change / "README.txt").read_text()
    assert f"{LEGACY}/bin/ansible-playbook -i inventory playbooks/restore.yml --limit patch_ansible_legacy" in readme


def test_three_platforms_go_in_one_change_and_their_own_updaters_wait(site: Site, park: Park, change: str) -> None:
    wa, wd = park["wa"], park["wd"]
    rivals, boots = timers(park), {name: boot_id(park[name]) for name in WEB}
    assert all(state.startswith(("active", "inactive")) for state in rivals.values())
    assert rivals["wa apt-daily.timer"] == rivals["wd dnf-automatic.timer"] == "active enabled"

    held: dict[str, str] = {}
    with as_soon_as("the patch", lambda: wa.was_patched() and wd.was_patched(), lambda: held.update(timers(park))):
        ended = site.run(change)
    assert ended.state is ChangeState.SUCCEEDED, ended.issues
    assert site.statuses(change) == dict.fromkeys(WEB, "done")
    assert versions(park) == dict.fromkeys(WEB, "1.1")
    assert rpm_version(wd, "labboot") == "1.1"
    assert {name for name, boot in boots.items() if boot_id(park[name]) != boot} == {"wd"}
    assert [park[name].ask() for name in WEB] == ["200 labapp 1.1"] * 3
    assert not any(state.startswith("active") for name, state in held.items() if name.endswith(".timer")), held
    assert timers(park) == rivals

    assert at_work(park, *WEB) == planned(site, change)
    assert at_work(park, "sd")["sd"] == planned(site, change)["wd"]
    folders = [JobDir(site.state / "jobs" / f"{change}.l1.w1.b1.patch.part{number}") for number in (1, 2)]
    orders = [folder.read(folder.order) for folder in folders]
    assert [(order["hosts"], order["ansible"]) for order in orders] == [(["wa", "wz"], ""), (["wd"], "legacy")]


def test_each_host_goes_back_by_the_ansible_that_the_plan_names(site: Site, park: Park, change: str) -> None:
    for name in WEB:
        park[name].run("rm", "/var/lib/ansible-at-work")
    site.give("change", "rollback", change, "--reason", "Back to what it was.", "--yes")
    assert site.ended(change).state is ChangeState.ROLLED_BACK
    assert at_work(park, *WEB) == planned(site, change)
    assert versions(park) == dict.fromkeys(WEB, "1.0")

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
    hosts["hosts"]["wd"]["patch_ansible"] = "lgacy"
    site.rewrite_hosts("production", hosts)
    change = site.submit({"title": "Another test"})
    site.give("change", "stage", change, "--yes", code=None)
    assert site.ended(change).state is ChangeState.REQUESTED
    told = site.told(change, "staging-failed")
    assert "wd: patch_ansible is 'lgacy'" in told
    assert "there are: default, legacy" in told


def planned(site: Site, change: str) -> dict[str, str]:
    """Return the version of ansible-core that the plan names for each host."""
    plan = site.store.plan(site.change(change).digest)
    return {host.host: plan.content.versions_of(host.ansible)["ansible-core"] for host in plan.hosts}


def at_work(park: Park, *names: str) -> dict[str, str]:
    return {name: park[name].run("cat", "/var/lib/ansible-at-work").strip() for name in names}


def timers(park: Park) -> dict[str, str]:
    """Return how the hosts' own updaters stand: running or not, enabled or not."""
    return {
        f"{host} {unit}": " ".join(
            park.lab.run(host, ["systemctl", verb, unit]).stdout.strip() for verb in ("is-active", "is-enabled")
        )
        for host, units in RIVALS.items()
        for unit in units
    }


def boot_id(machine: Machine) -> str:
    return machine.run("cat", "/proc/sys/kernel/random/boot_id").strip()


def rpm_version(machine: Machine, package: str) -> str:
    return machine.run("rpm", "-q", "--qf", "%{VERSION}", package)


def versions(park: Park) -> dict[str, str]:
    return {name: park[name].version("labapp") if name == "wa" else rpm_version(park[name], "labapp") for name in WEB}
