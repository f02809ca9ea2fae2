"""Three package managers in one change: one lock for each platform, a reboot where one is needed, rivals held."""

from __future__ import annotations

import pytest

from lab.host import Family
from lab.packages import Package
from orchestrator.domain.change import ChangeState
from tests.acceptance.machines import Machine, Park, as_soon_as
from tests.acceptance.site import Site

pytestmark = pytest.mark.lab

#: Staging and production host of each family; the dnf hosts also have a package that asks for a reboot.
HOSTS: dict[Family, tuple[str, str]] = {"apt": ("sa", "wa"), "dnf": ("sd", "wd"), "zypper": ("sz", "wz")}
RIVALS = {
    "wa": ("apt-daily.timer", "apt-daily-upgrade.timer", "unattended-upgrades.service"),
    "wd": ("dnf-automatic.timer",),
}


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
    site.inventory("staging", park.lab, {staging: {} for staging, _ in HOSTS.values()})
    site.inventory("production", park.lab, {production: {} for _, production in HOSTS.values()})
    return site


def publish(park: Park, version: str) -> None:
    park.lab.repository.publish(
        Package(name="labapp", version=version),
        Package(name="labboot", version=version, behaviour="good" if version == "1.0" else "needs-reboot"),
    )


def test_three_platforms_go_in_one_change_and_their_own_updaters_wait(site: Site, park: Park) -> None:
    wa, wd = park["wa"], park["wd"]
    rivals, boots = timers(park), {name: boot_id(park[name]) for name in ("wa", "wd", "wz")}
    assert all(state.startswith(("active", "inactive")) for state in rivals.values())
    assert rivals["wa apt-daily.timer"] == rivals["wd dnf-automatic.timer"] == "active enabled"

    change = site.scheduled({"packages": ["labapp", "labboot"], "reboot": "if-required"})
    plan = site.store.plan(site.change(change).digest)
    assert {lock.platform.family for lock in plan.lock.platforms} == {"apt", "dnf", "zypper"}
    assert {host.host: sorted(item.name for item in host.items) for host in plan.hosts} == {
        "wa": ["labapp"],
        "wd": ["labapp", "labboot"],
        "wz": ["labapp"],
    }

    held: dict[str, str] = {}
    with as_soon_as("the patch", lambda: wa.was_patched() and wd.was_patched(), lambda: held.update(timers(park))):
        ended = site.run(change)
    assert ended.state is ChangeState.SUCCEEDED, ended.issues
    assert site.statuses(change) == {"wa": "done", "wd": "done", "wz": "done"}
    assert wa.version("labapp") == "1.1"
    assert [rpm_version(park[name], "labapp") for name in ("wd", "wz")] == ["1.1", "1.1"]
    assert rpm_version(wd, "labboot") == "1.1"
    assert {name for name, boot in boots.items() if boot_id(park[name]) != boot} == {"wd"}
    assert [park[name].ask() for name in ("wa", "wd", "wz")] == ["200 labapp 1.1"] * 3
    assert not any(state.startswith("active") for name, state in held.items() if name.endswith(".timer")), held
    assert timers(park) == rivals


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
