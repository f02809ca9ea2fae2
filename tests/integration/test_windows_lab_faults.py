"""What real Ansible says of each fault of the lab's Windows hosts, and what was really done to the host meanwhile."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from winrm.protocol import Protocol

from lab.errors import LabError
from lab.windows.faults import KINDS
from lab.windows.instance import WindowsLab
from lab.windows.inventory import CONNECTIONS
from tests.windows_play import Came, Task, hosts, login, play


@dataclass(frozen=True)
class Case:
    """A fault, what Ansible makes of it, and what is true of the host: the deeds that its journal then holds."""

    fault: dict[str, Any]
    outcome: str
    says: str = ""
    done: tuple[str, ...] = ()
    not_done: tuple[str, ...] = ()


SERVICE = "win_service"
CASES = {
    # The worst case: Ansible says failed, and the host installs what it was told to.
    "polling": Case({"kind": "reset-while-polling"}, "failed", "reset by peer", done=("update-begun", "update-ended")),
    "start": Case({"kind": "reset-at-start", "match": SERVICE}, "failed", "reset by peer", not_done=("stopped",)),
    "mid": Case({"kind": "reset-mid", "match": SERVICE}, "failed", "reset by peer", done=("stopped",)),
    "hang": Case({"kind": "hang", "match": SERVICE}, "failed", "Timed out after 5", ("hang",), ("stopped",)),
    "cut": Case({"kind": "cut-off", "match": SERVICE}, "failed", "", done=("stopped",)),
    "busy": Case({"kind": "http-status", "status": 503}, "unreachable", "503", not_done=("login", "stopped")),
    "locked": Case({"kind": "refuse-auth"}, "unreachable", "uthenticat|ccess denied", ("login-refused",), ("stopped",)),
    "frozen": Case({"kind": "silent"}, "failed", "[Tt]imed out", ("silent",), ("stopped",)),
    "expired": Case({"kind": "expired-certificate"}, "unreachable", "certificate has expired", not_done=("login",)),
    "offline": Case({"kind": "no-update-server"}, "failed", "0x8024402C", not_done=("updates-searched",)),
    "slow": Case({"kind": "slow", "seconds": 0.3}, "ok", done=("stopped",)),
    "lost": Case({"kind": "never-back"}, "failed", "Timed out waiting for last boot", ("down", "never-back"), ("up",)),
}
#: Short, so that a dead host is told soon; psrp tries five times where it may.
PATIENCE: dict[str, Any] = {
    "ansible_winrm_operation_timeout_sec": 2,
    "ansible_winrm_read_timeout_sec": 4,
    "ansible_winrm_connection_timeout": 4,
    "ansible_psrp_operation_timeout": 2,
    "ansible_psrp_read_timeout": 4,
    "ansible_psrp_connection_timeout": 2,
    "ansible_psrp_reconnection_retries": 0,
}
TASKS: list[Task] = [
    {"ansible.windows.win_updates": {"category_names": ["*"]}, "timeout": 60, "when": "case in ['polling', 'offline']"},
    {"ansible.windows.win_reboot": {"reboot_timeout": 4, "connect_timeout": 1}, "when": "case == 'lost'"},
    {
        "ansible.windows.win_service": {"name": "Spooler", "state": "stopped"},
        "timeout": 5,
        "when": "case not in ['polling', 'offline', 'lost']",
    },
]
BOTH = [(plugin, case) for plugin in CONNECTIONS for case in CASES]


@pytest.fixture(scope="module")
def windows(new_windows_lab: Callable[..., WindowsLab], tmp_path_factory: pytest.TempPathFactory) -> WindowsLab:
    scenario = tmp_path_factory.mktemp("scenario") / "faults.yml"
    described = {
        "every_host": {"reboot_seconds": 0.3, "settle_seconds": 0.2},
        "updates": [{"kb": kb, "title": f"Update ({kb})", "seconds": 0.5} for kb in ("KB1001", "KB1002")],
        "hosts": {f"{plugin}-{case}": {"faults": [CASES[case].fault]} for plugin, case in BOTH},
    }
    scenario.write_text(yaml.safe_dump(described))
    return new_windows_lab(*described["hosts"], scenario=scenario)


@pytest.fixture(scope="module")
def came(windows: WindowsLab, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Came]:
    ways = {}
    for plugin, case in BOTH:
        kind = "ntlm-https" if case == "expired" else "ntlm"
        ways[f"{plugin}-{case}"] = {**login(windows, plugin, kind), **PATIENCE, "case": case}
    played = play(tmp_path_factory.mktemp("faults"), hosts(windows, **ways), TASKS, strategy="free")
    return {name: next(one for one in played[name] if one.outcome != "skipped") for name in ways}


@pytest.mark.parametrize(("plugin", "case"), BOTH)
def test_fault_is_told_by_ansible_and_the_host_knows_better(
    windows: WindowsLab, came: dict[str, Came], plugin: str, case: str
) -> None:
    name, expected = f"{plugin}-{case}", CASES[case]
    assert came[name].outcome == expected.outcome
    assert re.search(expected.says, came[name].told)
    deeds = {entry.deed for entry in windows.journal(name)}
    if windows.host(name)["services"]["Spooler"] == "stopped":
        deeds.add("stopped")
    assert deeds.issuperset(expected.done)
    assert deeds.isdisjoint(expected.not_done)


def test_every_fault_has_its_case() -> None:
    assert {case.fault["kind"] for case in CASES.values()} == set(KINDS)


@pytest.mark.parametrize("plugin", CONNECTIONS)
def test_host_whose_connection_broke_installs_everything_and_waits_for_its_reboot(
    windows: WindowsLab, came: dict[str, Came], plugin: str
) -> None:
    host = f"{plugin}-polling"
    told = came[host]
    assert (told["changed"], told["found_update_count"], told["installed_update_count"]) == (False, 0, 0)
    until = time.monotonic() + 5
    while len(windows.journal(host, "update-ended")) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    assert windows.host(host)["updates"] == {"KB1001": "pending-reboot", "KB1002": "pending-reboot"}
    assert windows.host(host)["pending_reboot"]


def test_mended_and_powered_on_hosts_answer_again(windows: WindowsLab, came: dict[str, Came]) -> None:
    assert windows.host("winrm-lost")["state"] == "down"
    windows.power_on("winrm-lost")
    windows.mend("winrm-busy")
    windows.mend("winrm-locked", "refuse-auth")
    user, password = windows.account
    for host in windows.hosts():
        if host.name in ("winrm-lost", "winrm-busy", "winrm-locked"):
            url = f"http://{host.address}:5985/wsman"
            protocol = Protocol(
                url,
                transport="ntlm",
                username=user,
                password=password,
                proxy=None,
                ca_trust_path=str(windows.certificates / "authority.pem"),
            )
            protocol.close_shell(protocol.open_shell())


def test_faults_and_hosts_that_are_not_there_are_refused(windows: WindowsLab) -> None:
    with pytest.raises(LabError, match=r"no fault 'flood'.*reset-mid"):
        windows.fault("winrm-busy", "flood")
    with pytest.raises(LabError, match="no Windows host web1"):
        windows.fault("web1", "slow")
    with pytest.raises(LabError, match="do not answer"):
        WindowsLab("nobody", windows.folder.parent.parent).status()
