"""Windows and Linux hosts of one service go through one change."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.packages import Package
from lab.windows.instance import WindowsLab
from lab.windows.pytest_plugin import temporary_windows_lab
from orchestrator.domain.change import ChangeState
from tests.acceptance.machines import Park
from tests.acceptance.site import Site

JOURNAL = r"C:\ProgramData\patch-orchestrator\journal.jsonl"
#: So that nobody waits for services of a simulated host, and a dead one is told soon.
PATIENCE: Mapping[str, object] = {
    "ansible_winrm_operation_timeout_sec": 4,
    "ansible_winrm_read_timeout_sec": 8,
    "ansible_psrp_operation_timeout": 4,
    "ansible_psrp_read_timeout": 8,
    "patch_windows_settle_seconds": 1,
    "patch_windows_grace_seconds": 0,
}
#: The cumulative update wants to be installed alone, and to be booted; then .NET, and another boot.
SCENARIO = """
updates:
  - kb: KB5034129
    title: 2024-01 Cumulative Update for Microsoft server operating system version 21H2 (KB5034129)
    exclusive: true
    build: 2227
  - kb: KB5033914
    title: 2024-01 Cumulative Update for .NET Framework 4.8.1 (KB5033914)
  - kb: KB2267602
    title: Security Intelligence Update for Microsoft Defender Antivirus - KB2267602
    categories: [Definition Updates]
    reboot: false
    removable: false
every_host:
  groups: [windows]
  reboot_seconds: 5
"""
KBS = {"KB5034129", "KB5033914"}
STAGING = ("ws2",)
APP = ("wa1", "wa2", "wa3", "wa4", "wa5", "wa6")
WEB = ("w1", "w2", "w3", "w4", "w5", "w6")


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WindowsLab]:
    with temporary_windows_lab(tmp_path_factory.mktemp("windows")) as lab:
        scenario = tmp_path_factory.mktemp("scenario") / "month.yml"
        scenario.write_text(SCENARIO)
        lab.up(*STAGING, *APP, scenario=scenario, owner=os.getpid())
        yield lab


def hosts_of(lab: WindowsLab, *names: str, connection: str = "winrm") -> dict[str, dict[str, Any]]:
    """Return hosts as an inventory says them, each with all of its variables."""
    told = yaml.safe_load(lab.inventory(connection, "ntlm"))["all"]
    return {name: {**told["vars"], **told["hosts"][name], **PATIENCE} for name in names}


def journal(lab: WindowsLab, name: str) -> list[tuple[str, str, str]]:
    records = map(json.loads, lab.read_file(name, JOURNAL).splitlines())
    return [(one["step"], one["event"], one["outcome"]) for one in records]


def installed(lab: WindowsLab, name: str) -> list[str]:
    """Name the updates whose installation began, as often as it did."""
    return [str(entry.details["kb"]) for entry in lab.journal(name, "update-begun")]


def boots(lab: WindowsLab, name: str) -> int:
    return len(lab.journal(name, "booted"))


def reboots(lab: WindowsLab, name: str) -> list[tuple[float, float]]:
    """Return from when to when a host was away, for each of its reboots."""
    downs, ups = ([entry.at for entry in lab.journal(name, deed)] for deed in ("down", "up"))
    return list(zip(downs, ups[-len(downs) :], strict=True))


@pytest.mark.lab
@pytest.mark.timeout(900)
def test_service_on_both_kinds_of_hosts_is_patched_tier_by_tier(
    windows: WindowsLab, park: Park, tmp_path: Path
) -> None:
    park.lab.repository.publish(Package(name="labapp", version="1.0"))
    park.up("s1", *WEB, packages=("labapp",))
    park.lab.repository.publish(Package(name="labapp", version="1.1", security=True))
    linux = yaml.safe_load(park.lab.inventory())["all"]
    told = {name: {**linux["vars"], **linux["hosts"][name]} for name in ("s1", *WEB)}
    site = Site.found(tmp_path)
    for environment, app, web in (("staging", STAGING, ("s1",)), ("production", APP, WEB)):
        hosts = hosts_of(windows, *app) | {name: told[name] for name in web}
        groups: dict[str, Any] = {
            group: {"hosts": {name: {} for name in some}} for group, some in (("shop_app", app), ("shop_web", web))
        }
        everything = {"hosts": hosts, "children": {"shop": {"children": groups}}}
        site.write(f"inventories/{environment}/hosts.yml", {"all": everything})
    asked = {"production": "shop", "tiers": ["shop_app", "shop_web"], "soak": "1s", "wave": "100%"}
    change = site.submit(asked, template="mixed-service-patch")
    site.stage(change)
    plan = site.store.plan(site.change(change).digest)
    assert [sorted(wave.hosts) for wave in plan.waves] == [["wa1"], sorted(APP[1:]), sorted(WEB)]
    assert {lock.platform.family for lock in plan.lock.platforms} == {"apt", "windows"}
    site.approve(change)
    site.give("change", "schedule", change, "--yes")
    assert site.run(change).state is ChangeState.SUCCEEDED, site.change(change).issues
    assert site.statuses(change) == dict.fromkeys((*APP, *WEB), "done")
    assert [park[name].version("labapp") for name in WEB] == ["1.1"] * len(WEB)
    for name in APP:
        assert sorted(installed(windows, name)) == sorted(KBS), "each of them once"
        assert [kind for kind in journal(windows, name) if kind[0] == "patch"] == [
            ("patch", "begin", ""),
            ("patch", "end", "ok"),
        ]
    away = {name: reboots(windows, name) for name in APP}
    assert {len(times) for times in away.values()} == {2}
    # Those of one batch were away at the same time, not one after the other.
    assert max(down for (down, _), *_ in (away[name] for name in APP[1:])) < min(
        up for (_, up), *_ in (away[name] for name in APP[1:])
    )
