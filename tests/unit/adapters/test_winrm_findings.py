"""What the script tells of a Windows host, and what speaks against working on it."""

from __future__ import annotations

import json

import pytest

from orchestrator.adapters.probes.stages import StageFailed
from orchestrator.adapters.probes.winrm_findings import WindowsFindings, read
from orchestrator.domain.probe import Needs, Stage

UPDATES = {"server": "", "reached": True, "proxy": False, "off": False, "option": 0, "day": 0, "hour": 0}
FIT: dict[str, object] = {
    "look": 1, "admin": True, "user": r"WIN1\patch", "time": 1000, "uptime": 3600, "drive": "C:", "free": 40 << 30,
    "reboot": [], "client": [], "updates": UPDATES, "failed": {},
    "services": [
        {"name": "wuauserv", "mode": "Manual", "state": "Stopped"},
        {"name": "TrustedInstaller", "mode": "Manual", "state": "Stopped"},
    ],
}  # fmt: skip


def told(**changed: object) -> WindowsFindings:
    return read(json.dumps(FIT | changed, separators=(",", ":")) + "\r\n")


def misfits(found: WindowsFindings, skew: int = 0) -> list[tuple[Stage, str]]:
    return list(found.misfits(Needs(), skew))


def updates(**changed: object) -> dict[str, object]:
    return UPDATES | changed


def test_fit_host_has_nothing_against_it() -> None:
    found = told()
    assert (misfits(found), found.rivals, found.reboot_reasons, found.uptime) == ([], (), (), 3600)


def test_account_that_is_no_administrator_fails_at_privilege() -> None:
    assert misfits(told(admin=False)) == [
        (Stage.PRIVILEGE, r"patching takes an administrator, and WIN1\patch is none"),
    ]


def test_full_system_drive_fails_at_disk() -> None:
    assert misfits(told(free=400 << 20)) == [(Stage.DISK, "C: has 400 MiB free, 4096 are needed")]


@pytest.mark.parametrize("skew", [121, -121])
def test_clock_that_differs_fails_at_clock(skew: int) -> None:
    assert [stage for stage, _ in misfits(told(), skew)] == [Stage.CLOCK]


def test_disabled_windows_update_fails_at_the_update_service() -> None:
    services = [{"name": "wuauserv", "mode": "Disabled", "state": "Stopped"}, *FIT["services"][1:]]  # type: ignore[index]
    assert misfits(told(services=services)) == [(Stage.UPDATE_SERVICE, "Windows Update (wuauserv) is disabled")]


def test_missing_installer_fails_at_the_update_service() -> None:
    assert misfits(told(services=FIT["services"][0])) == [  # type: ignore[index]
        (Stage.UPDATE_SERVICE, "the Windows Modules Installer (trustedinstaller) is missing"),
    ]


def test_update_server_that_takes_no_connection_fails_and_is_named() -> None:
    found = told(updates=updates(server="http://wsus:8530", reached=False))
    assert misfits(found) == [
        (Stage.UPDATE_SERVICE, "its update server http://wsus:8530 takes no connection from the host")
    ]
    assert misfits(told(updates=updates(server="http://wsus:8530", reached=False, proxy=True))) == []


@pytest.mark.parametrize(
    ("policy", "rival"),
    [
        (updates(option=4, hour=3), "Windows Update's own schedule (every day at 03:00)"),
        (updates(option=4, day=1, hour=23), "Windows Update's own schedule (every Sunday at 23:00)"),
        (updates(option=5), "Windows Update's own schedule (as the host's administrator chooses)"),
    ],
)
def test_windows_that_installs_by_itself_is_a_rival_and_no_misfit(policy: dict[str, object], rival: str) -> None:
    found = told(updates=policy)
    assert (found.rivals, misfits(found)) == ((rival,), [])


@pytest.mark.parametrize("policy", [updates(), updates(option=2), updates(option=3), updates(option=4, off=True)])
def test_windows_that_only_offers_is_no_rival(policy: dict[str, object]) -> None:
    assert told(updates=policy).rivals == ()


def test_mecm_client_is_a_rival_unless_it_is_disabled() -> None:
    def client(mode: str) -> WindowsFindings:
        return told(services=[*FIT["services"], {"name": "CcmExec", "mode": mode, "state": "Running"}])  # type: ignore[misc]

    assert client("Auto").rivals == ("MECM client (ccmexec)",)
    assert client("Disabled").rivals == ()


def test_signs_of_a_pending_reboot_are_told() -> None:
    assert told(reboot=["servicing: RebootPending"], client="MECM client: RebootData").reboot_reasons == (
        "servicing: RebootPending", "MECM client: RebootData",
    )  # fmt: skip


def test_question_that_failed_is_unfit_with_its_reason_where_it_matters() -> None:
    failed = {"free": "Access is denied", "reboot": "odd", "uptime": "no WMI"}
    bare = {key: value for key, value in FIT.items() if key not in failed} | {"failed": failed}
    found = read(json.dumps(bare, separators=(",", ":")))
    assert misfits(found) == [(Stage.DISK, "the host could not tell about free: Access is denied")]
    assert (found.uptime, found.reboot_reasons) == (0, ())


def test_misfits_come_in_the_order_of_the_stages() -> None:
    found = told(admin=False, free=0, services=[])
    stages = [stage for stage, _ in misfits(found, 500)]
    assert stages == [Stage.PRIVILEGE, Stage.DISK, Stage.UPDATE_SERVICE, Stage.UPDATE_SERVICE, Stage.CLOCK]


@pytest.mark.parametrize(
    "answer",
    ["", "Access is denied.", '{"look":1,"admin":tr', '{"look":1}', '{"look":1,"failed":[]}',
     json.dumps(FIT | {"free": "much"}, separators=(",", ":")),
     json.dumps(FIT | {"time": True}, separators=(",", ":"))],
)  # fmt: skip
def test_answer_of_another_form_fails_at_parse(answer: str) -> None:
    with pytest.raises(StageFailed) as failed:
        read(answer)
    assert failed.value.stage is Stage.PARSE


def test_lines_around_the_answer_are_passed_over() -> None:
    text = json.dumps(FIT, separators=(",", ":"))
    assert read(f"a banner\r\n\ufeff{text}\r\nbye").is_administrator
