"""The WinRM probe against the lab's Windows hosts: real pywinrm and WinRM; the inside of the hosts is simulated."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.windows.instance import WindowsLab
from lab.windows.inventory import AUTHENTICATION, CONNECTIONS
from orchestrator.adapters.probes.probes import MixedProbe
from orchestrator.adapters.probes.ssh import SshProbe
from orchestrator.adapters.probes.winrm import WinRmProbe
from orchestrator.domain.inventory import Connection, Host
from orchestrator.domain.probe import Needs, ProbeReport, Stage
from tests.windows_hosts import hosts_of

NewLab = Callable[..., WindowsLab]
WRONG = "wrong horse battery"
UPDATE_POLICY = r"HKLM:\SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate"
#: What one host is like, and what is then found.
STATES: dict[str, dict[str, object]] = {
    "fit": {},
    "full": {"disk_free_gb": 0.4},
    "ahead": {"clock_ahead_seconds": 300},
    "behind": {"clock_ahead_seconds": -300},
    "off": {"services": [{"name": "wuauserv", "state": "stopped", "start_mode": "disabled"}]},
    "mecm": {"services": [{"name": "ccmexec"}]},
    "auto": {"registry": {rf"{UPDATE_POLICY}\AU": {"AUOptions": 4, "ScheduledInstallTime": 3}}},
    "wsus": {
        "registry": {
            UPDATE_POLICY: {"WUServer": "http://127.0.0.1:9"},
            rf"{UPDATE_POLICY}\AU": {"UseWUServer": 1},
        }
    },
    "pending": {
        "registry": {
            r"HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\RebootPending": {},
            r"HKLM:\SYSTEM\CurrentControlSet\Control\Session Manager": {"PendingFileRenameOperations": r"\??\C:\a"},
            r"HKLM:\SYSTEM\CurrentControlSet\Control\ComputerName\ActiveComputerName": {"ComputerName": "OLD"},
            r"HKLM:\SYSTEM\CurrentControlSet\Control\ComputerName\ComputerName": {"ComputerName": "NEW"},
            r"HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\WindowsUpdate\Auto Update\RebootRequired": {},
            r"HKLM:\SOFTWARE\Microsoft\SMS\Mobile Client\Reboot Management\RebootData": {},
        }
    },
    "long": {"uptime_days": 200},
}


@pytest.fixture(scope="module")
def reports(new_windows_lab: NewLab, tmp_path_factory: pytest.TempPathFactory) -> dict[str, ProbeReport]:
    scenario = tmp_path_factory.mktemp("scenario") / "states.yml"
    scenario.write_text(yaml.safe_dump({"hosts": STATES}))
    lab = new_windows_lab(*STATES, scenario=scenario)
    return {report.host: report for report in WinRmProbe().look(hosts_of(lab), Needs())}


@pytest.fixture
def lab(new_windows_lab: NewLab) -> WindowsLab:
    return new_windows_lab("win1")


def look(lab: WindowsLab, timeout: float = 10.0, **variables: Any) -> ProbeReport:
    (report, *_) = WinRmProbe(timeout=timeout).look(hosts_of(lab, **variables), Needs())
    return report


@pytest.mark.parametrize("connection", CONNECTIONS)
@pytest.mark.parametrize("authentication", sorted(set(AUTHENTICATION) - {"kerberos"}))
def test_every_way_to_log_in_ends_at_a_fit_host(lab: WindowsLab, connection: str, authentication: str) -> None:
    report = look(lab, connection=connection, authentication=authentication)
    assert (report.failed_at, report.detail) == (None, "")
    kind = authentication.removesuffix("-https")
    assert [entry.details["kind"] for entry in lab.journal("win1", "login")] == [kind]


def test_fit_host_tells_its_clock_and_uptime(reports: dict[str, ProbeReport]) -> None:
    report = reports["fit"]
    assert (report.is_fit, report.detail, report.rivals, report.pending_reboot) == (True, "", (), False)
    assert report.clock_skew == 0
    assert reports["long"].uptime // 86400 == 200


@pytest.mark.parametrize(
    ("host", "stage", "words"),
    [
        ("full", Stage.DISK, "C: has 409 MiB free, 4096 are needed"),
        ("ahead", Stage.CLOCK, "s ahead of ours, 120 s are allowed"),
        ("behind", Stage.CLOCK, "s behind ours, 120 s are allowed"),
        ("off", Stage.UPDATE_SERVICE, "Windows Update (wuauserv) is disabled"),
        ("wsus", Stage.UPDATE_SERVICE, "its update server http://127.0.0.1:9 takes no connection from the host"),
    ],
)
def test_unfit_host_is_told_with_its_stage(
    reports: dict[str, ProbeReport], host: str, stage: Stage, words: str
) -> None:
    assert reports[host].failed_at is stage
    assert words in reports[host].detail


def test_pending_reboot_and_rivals_are_told_and_not_failed(reports: dict[str, ProbeReport]) -> None:
    assert all(reports[name].is_fit for name in ("pending", "mecm", "auto"))
    assert reports["pending"].pending_reboot
    assert reports["pending"].detail.split("; ") == [
        "servicing: RebootPending",
        "Windows Update: RebootRequired",
        "PendingFileRenameOperations: 1",
        "computer name: OLD becomes NEW",
        "MECM client: RebootData",
    ]
    assert reports["mecm"].rivals == ("MECM client (ccmexec)",)
    assert reports["auto"].rivals == ("Windows Update's own schedule (every day at 03:00)",)


def test_closed_port_fails_at_connect(lab: WindowsLab) -> None:
    report = look(lab, ansible_port="5987", ansible_winrm_scheme="http")
    assert (report.failed_at, "connection refused" in report.detail) == (Stage.CONNECT, True)


@pytest.mark.parametrize("authentication", ["ntlm", "ntlm-https"])
def test_silent_host_fails_at_connect_in_time(lab: WindowsLab, authentication: str) -> None:
    lab.fault("win1", "silent")
    began = time.monotonic()
    report = look(lab, timeout=1.0, authentication=authentication)
    assert time.monotonic() - began < 5
    assert report.failed_at is Stage.CONNECT
    assert "did not answer within 1 s" in report.detail


def test_http_error_fails_at_connect_and_no_password_is_shown(lab: WindowsLab) -> None:
    lab.fault("win1", "http-status", status=500)
    report = look(lab)
    assert (report.failed_at, "answers HTTP 500" in report.detail) == (Stage.CONNECT, True)
    assert lab.journal("win1", "login") == []


def test_expired_certificate_fails_at_tls(lab: WindowsLab) -> None:
    lab.fault("win1", "expired-certificate")
    report = look(lab, authentication="ntlm-https")
    assert report.failed_at is Stage.TLS
    assert "certificate has expired" in report.detail


def test_certificate_that_nobody_trusts_fails_at_tls_unless_it_is_not_to_be_checked(lab: WindowsLab) -> None:
    unknown = look(lab, authentication="ntlm-https", ansible_winrm_ca_trust_path="")
    assert (unknown.failed_at, "trusted: the usual authorities" in unknown.detail) == (Stage.TLS, True)
    said: dict[str, Any] = {"ansible_winrm_ca_trust_path": "", "ansible_winrm_server_cert_validation": "ignore"}
    assert look(lab, authentication="ntlm-https", **said).is_fit


def test_port_without_tls_fails_at_tls(lab: WindowsLab) -> None:
    assert look(lab, ansible_winrm_scheme="https").failed_at is Stage.TLS


def test_refused_login_fails_at_authenticate_without_the_password(
    lab: WindowsLab, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        report = look(lab, ansible_password=WRONG)
    assert (report.failed_at, report.is_refused) == (Stage.AUTHENTICATE, True)
    assert report.detail == "Administrator was not let in; offered was the password, by ntlm"
    assert WRONG not in caplog.text + repr(report)


# requests-credssp leaves its connection to the garbage collector when it fails half way.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("authentication", ["basic", "credssp", "ntlm-https"])
def test_each_way_tells_a_refusal_from_a_fault(lab: WindowsLab, authentication: str) -> None:
    report = look(lab, authentication=authentication, ansible_password=WRONG)
    assert (report.failed_at, report.is_refused) == (Stage.AUTHENTICATE, True)
    gc.collect()


def test_way_that_the_host_does_not_offer_shows_no_password(new_windows_lab: NewLab, tmp_path: Path) -> None:
    scenario = tmp_path / "kerberos-only.yml"
    scenario.write_text(yaml.safe_dump({"every_host": {"authentication": ["credssp"]}}))
    lab = new_windows_lab("win1", scenario=scenario)
    report = look(lab)
    assert (report.failed_at, report.is_refused) == (Stage.AUTHENTICATE, False)
    assert report.detail == "the inventory asks for ntlm, and the host offers credssp"
    assert lab.journal("win1", "login-refused") == []


def test_basic_over_http_shows_no_password(lab: WindowsLab) -> None:
    report = look(lab, ansible_winrm_transport="basic")
    assert (report.failed_at, "Basic over HTTP" in report.detail) == (Stage.AUTHENTICATE, True)
    assert lab.journal("win1", "login") == []


def test_missing_password_is_told_and_no_empty_one_is_tried(lab: WindowsLab) -> None:
    report = look(lab, ansible_password="")
    assert (report.failed_at, "gives no password" in report.detail) == (Stage.AUTHENTICATE, True)
    assert lab.journal("win1", "login-refused") == []


def test_password_that_cannot_be_had_is_told_and_nothing_is_tried(
    lab: WindowsLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WINDOWS_PASSWORD", raising=False)
    hosts = hosts_of(lab, ansible_password="{{ lookup('env', 'WINDOWS_PASSWORD') }}")
    probe = WinRmProbe()
    for report in [*probe.look(hosts, Needs()), *probe.knock(hosts)]:
        assert (report.failed_at, "WINDOWS_PASSWORD" in report.detail) == (Stage.AUTHENTICATE, True)
    assert lab.journal("win1", "login-refused") == []


def test_knocking_asks_no_host_that_takes_a_certificate(lab: WindowsLab) -> None:
    hosts = hosts_of(lab, authentication="certificate", ansible_password=WRONG)
    assert WinRmProbe().knock(hosts)[0].is_fit
    assert lab.journal("win1") == []
    assert WinRmProbe().look(hosts, Needs())[0].is_fit


def test_slow_host_is_waited_for_as_long_as_there_is_time(lab: WindowsLab) -> None:
    lab.fault("win1", "slow", seconds=0.1)
    assert look(lab).is_fit
    lab.mend("win1")
    lab.fault("win1", "slow", seconds=0.6)
    began = time.monotonic()
    assert look(lab, timeout=1.5).failed_at is Stage.AUTHENTICATE
    assert time.monotonic() - began < 5


def test_hanging_script_fails_at_run_in_time(lab: WindowsLab) -> None:
    lab.fault("win1", "hang", match="patch-orchestrator", seconds=30)
    began = time.monotonic()
    report = look(lab, timeout=1.5)
    assert time.monotonic() - began < 5
    assert (report.failed_at, "within 1.5 s" in report.detail) == (Stage.RUN, True)


def test_connection_that_breaks_fails_at_run(lab: WindowsLab) -> None:
    lab.fault("win1", "reset-at-start", match="patch-orchestrator")
    report = look(lab)
    assert (report.failed_at, "broke the connection off" in report.detail) == (Stage.RUN, True)


def test_answer_that_is_none_fails_at_parse(new_windows_lab: NewLab, tmp_path: Path) -> None:
    scenario = tmp_path / "odd.yml"
    scripts = [{"match": "patch-orchestrator: look", "stdout": "Welcome to WIN1"}]
    scenario.write_text(yaml.safe_dump({"every_host": {"scripts": scripts}}))
    report = look(new_windows_lab("win1", scenario=scenario))
    assert report.failed_at is Stage.PARSE
    assert report.detail == "the host's answer is not what was asked for: Welcome to WIN1"


def test_fifty_hosts_are_looked_at_and_told_in_order(new_windows_lab: NewLab) -> None:
    names = [f"win{number}" for number in range(50)]
    lab = new_windows_lab(*names)
    lab.fault("win7", "http-status", status=503)
    lab.fault("win30", "expired-certificate")
    found = WinRmProbe().look(hosts_of(lab, authentication="ntlm-https"), Needs())
    assert [report.host for report in found] == names
    unfit = {report.host: report.failed_at for report in found if not report.is_fit}
    assert unfit == {"win7": Stage.CONNECT, "win30": Stage.TLS}
    assert sum(len(lab.journal(name, "login")) for name in names) == 48


def refusals(lab: WindowsLab) -> int:
    return sum(len(lab.journal(host.name, "login-refused")) for host in lab.hosts())


@pytest.mark.parametrize("authentication", ["ntlm", "basic"])
def test_wrong_password_is_shown_to_one_of_fifty_hosts(new_windows_lab: NewLab, authentication: str) -> None:
    lab = new_windows_lab(*(f"win{number}" for number in range(50)))
    probe, hosts = WinRmProbe(), hosts_of(lab, authentication=authentication, ansible_password=WRONG)
    found = probe.look(hosts, Needs())
    assert {report.failed_at for report in found} == {Stage.AUTHENTICATE}
    (refused,) = (report for report in found if report.is_refused)
    told = {report.detail for report in found if not report.is_refused}
    assert told == {f"not tried: {refused.host} was refused for the same account"}
    assert refusals(lab) == 1
    again = [*probe.look(hosts, Needs()), *probe.knock(hosts)]
    assert all("was refused for the same account" in report.detail for report in again)
    assert refusals(lab) == 1


def test_two_accounts_are_two_tries(new_windows_lab: NewLab) -> None:
    lab = new_windows_lab("win1", "win2", "win3")
    good, wrong = hosts_of(lab), hosts_of(lab, ansible_password=WRONG)
    found = WinRmProbe().look([wrong[0], good[1], wrong[2]], Needs())
    assert [report.is_fit for report in found] == [False, True, False]
    assert refusals(lab) == 1


def test_knocking_logs_in_to_one_host_only(new_windows_lab: NewLab) -> None:
    lab = new_windows_lab(*(f"win{number}" for number in range(10)))
    assert all(report.is_fit for report in WinRmProbe().knock(hosts_of(lab)))
    assert sum(len(lab.journal(host.name, "login")) for host in lab.hosts()) == 1
    assert not any(lab.journal(host.name, "script") for host in lab.hosts())


def test_windows_and_other_hosts_are_looked_at_together_and_told_in_order(lab: WindowsLab, tmp_path: Path) -> None:
    local = Host(name="here", family="none", connection=Connection(kind="local", address="localhost"))
    (windows,) = hosts_of(lab)
    probe = MixedProbe(others=SshProbe(known_hosts=tmp_path / "known_hosts"), windows=WinRmProbe)
    needs = Needs(free=(("/", 1),))
    found = probe.look([local, windows, local], needs)
    assert [report.host for report in found] == ["here", "win1", "here"]
    assert [report.host for report in probe.knock([windows, local])] == ["win1", "here"]
    assert probe.look([local], needs)[0].host == "here"


def test_probe_of_other_hosts_alone_loads_nothing_of_windows(tmp_path: Path) -> None:
    def load() -> WinRmProbe:
        pytest.fail("nobody asked for a Windows host")

    probe = MixedProbe(others=SshProbe(known_hosts=tmp_path / "known_hosts"), windows=load)
    assert probe.look([], Needs()) == []
