"""A patch night on the lab's Windows hosts, with the real win_updates, win_hotfix and win_reboot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lab.windows.instance import WindowsLab
from tests.windows_play import Played, Task, hosts, login, play

SCENARIO = """
every_host: {reboot_seconds: 0.3, settle_seconds: 0.2}
updates:
  - {kb: KB1001, title: Servicing Stack Update (KB1001), reboot: false, removable: false, seconds: 0.05}
  - {kb: KB1002, title: Old Cumulative Update (KB1002), seconds: 0.05}
  - {kb: KB1003, title: Cumulative Update (KB1003), needs: [KB1001], supersedes: [KB1002], build: 2227, seconds: 0.05}
  - {kb: KB1004, title: Definitions (KB1004), categories: [Definition Updates], reboot: false}
hosts:
  fails: {updates: {KB1003: {needs: [], outcome: fails}}}
  undone: {updates: {KB1003: {needs: [], outcome: rolls-back}}}
  removes: {installed: [KB1001, KB1003]}
  waits: {updates: {KB1003: {needs: []}}}
"""
Row = dict[str, Any]
CUMULATIVE = {"accept_list": ["KB1003"], "category_names": ["*"]}
WINDOWS_UPDATE = r"HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\WindowsUpdate\Auto Update\RebootRequired"


def on(names: list[str], *tasks: Task) -> list[Task]:
    return [{**task, "when": f"inventory_hostname in {names}"} for task in tasks]


TASKS = [
    *on(
        ["winrm", "psrp"],
        {"ansible.windows.win_updates": {"state": "searched"}},
        {"ansible.windows.win_updates": {"reboot": True, "reboot_timeout": 60}},
        {"ansible.windows.win_updates": {"state": "searched"}},
        {
            "ansible.windows.win_reg_stat": {
                "path": r"HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion",
                "name": "UBR",
            }
        },
    ),
    *on(["fails"], {"ansible.windows.win_updates": CUMULATIVE}),
    *on(["undone"], {"ansible.windows.win_updates": {**CUMULATIVE, "reboot": True, "reboot_timeout": 60}}),
    *on(
        ["removes"],
        {"ansible.windows.win_hotfix": {"hotfix_kb": "KB1001", "state": "absent"}},
        {"ansible.windows.win_hotfix": {"hotfix_kb": "KB1003", "state": "absent"}},
        {"ansible.windows.win_reg_stat": {"path": WINDOWS_UPDATE}},
        {"ansible.windows.win_reboot": {"reboot_timeout": 60}},
        {"ansible.windows.win_reg_stat": {"path": WINDOWS_UPDATE}},
    ),
    *on(
        ["waits"],
        {"ansible.windows.win_updates": {**CUMULATIVE, "state": "downloaded"}},
        {"ansible.windows.win_updates": CUMULATIVE, "async": 60, "poll": 1},
        {"ansible.windows.win_updates": {"accept_list": ["KB1001"]}},
    ),
]


@pytest.fixture(scope="module")
def windows(new_windows_lab: Callable[..., WindowsLab], tmp_path_factory: pytest.TempPathFactory) -> WindowsLab:
    scenario = tmp_path_factory.mktemp("scenario") / "night.yml"
    scenario.write_text(SCENARIO)
    return new_windows_lab("winrm", "psrp", "fails", "undone", "removes", "waits", scenario=scenario)


@pytest.fixture(scope="module")
def night(windows: WindowsLab, tmp_path_factory: pytest.TempPathFactory) -> Played:
    usual = login(windows, "winrm")
    ways = {host.name: usual for host in windows.hosts()} | {"psrp": login(windows, "psrp")}
    played = play(tmp_path_factory.mktemp("night"), hosts(windows, **ways), TASKS, strategy="free")
    for came in played.came.values():
        came[:] = [one for one in came if one.outcome != "skipped"]
    return played


@pytest.fixture(params=["winrm", "psrp"])
def host(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_search_finds_the_servicing_stack_alone_at_first(night: Played, host: str) -> None:
    searched = night[host][0]
    assert kbs(searched["updates"]) == {"1001"}
    assert {kb: row["filtered_reasons"] for kb, row in by_kb(searched["filtered_updates"]).items()} == {
        "1004": ["category_names"]
    }
    assert searched["changed"] is False


def test_rounds_go_on_until_nothing_is_left_and_reboot_between_them(
    windows: WindowsLab, night: Played, host: str
) -> None:
    installed, again, build = night[host][1:]
    assert kbs(installed["updates"]) == {"1001", "1003"}
    assert (installed["installed_update_count"], installed["rebooted"], installed["reboot_required"]) == (
        2,
        True,
        False,
    )
    assert again["found_update_count"] == 0
    assert build["value"] == 2227
    ended = [(entry.details["kb"], entry.details["state"]) for entry in windows.journal(host, "update-ended")]
    assert ended == [("KB1001", "installed"), ("KB1003", "pending-reboot")]
    assert len(windows.journal(host, "up")) == 1
    assert windows.host(host)["updates"] == {
        "KB1001": "installed",
        "KB1002": "superseded",
        "KB1003": "installed",
        "KB1004": "available",
    }


def test_update_that_fails_is_named_with_its_code(windows: WindowsLab, night: Played) -> None:
    (failed,) = night["fails"]
    assert failed.outcome == "failed"
    assert failed["failed_update_count"] == 1
    assert "WU_E_NOT_APPLICABLE" in by_kb(failed["updates"])["1003"]["failure_msg"]
    assert windows.host("fails")["updates"]["KB1003"] == "failed"


def test_update_that_the_boot_undoes_ends_as_a_loop(windows: WindowsLab, night: Played) -> None:
    (looped,) = night["undone"]
    assert looped.outcome == "failed"
    assert "An update loop was detected" in looped.told
    assert [entry.details["kb"] for entry in windows.journal("undone", "update-undone-by-boot")] == ["KB1003"]
    (error,) = windows.host("undone")["errors_since_boot"]
    assert "failed to install Cumulative Update (KB1003)" in error


def test_removed_update_is_offered_again_after_the_reboot(windows: WindowsLab, night: Played) -> None:
    refused, removed, pending, rebooted, settled = night["removes"]
    assert refused.outcome == "failed"
    assert "CBS_E_CANNOT_UNINSTALL" in refused.told
    assert (removed["changed"], removed["reboot_required"], removed["kb"]) == (True, True, "KB1003")
    assert (pending["exists"], rebooted["rebooted"], settled["exists"]) == (True, True, False)
    assert "KB1003" in windows.host("removes")["offered"]


def test_host_that_waits_for_its_reboot_takes_no_more_updates(windows: WindowsLab, night: Played) -> None:
    downloaded, installed, refused = night["waits"]
    assert (downloaded["changed"], by_kb(downloaded["updates"])["1003"]["downloaded"]) == (True, True)
    assert (installed["reboot_required"], installed["installed_update_count"]) == (True, 1)
    assert "A reboot is required before more updates can be installed" in refused.told
    assert windows.host("waits")["updates"]["KB1001"] == "available"


def test_update_published_later_supersedes_what_waits(new_windows_lab: Callable[..., WindowsLab]) -> None:
    lab = new_windows_lab("win1")
    lab.publish("KB5034765")
    assert lab.host("win1")["updates"]["KB5034129"] == "superseded"
    assert lab.journal("win1", "update-published")


def by_kb(updates: dict[str, Row]) -> dict[str, Row]:
    return {row["kb"][0]: row for row in updates.values()}


def kbs(updates: dict[str, Row]) -> set[str]:
    return set(by_kb(updates))
