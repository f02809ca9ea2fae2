"""The lab's Windows hosts, as the real pywinrm, pypsrp and both of Ansible's connection plugins meet them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pypsrp.client
import pytest
from winrm.exceptions import InvalidCredentialsError, WinRMTransportError
from winrm.protocol import Protocol

from lab.errors import LabError
from lab.windows.instance import WindowsLab
from lab.windows.inventory import AUTHENTICATION, CONNECTIONS
from tests.windows_play import Played, Task, hosts, login, play

WAYS = [(plugin, kind) for plugin in CONNECTIONS for kind in AUTHENTICATION if kind != "kerberos"]
TASKS: list[Task] = [
    {"ansible.windows.setup": {}},
    {"ansible.windows.win_shell": "hostname"},
    {"ansible.windows.win_command": "hostname", "check_mode": True},
    {"ansible.windows.win_powershell": {"script": "(Get-HotFix).HotFixID"}},
    {"ansible.windows.win_service": {"name": "Spooler", "state": "stopped"}},
    {"ansible.windows.win_service_info": {"name": "Spooler"}},
    {"ansible.windows.win_copy": {"content": "kept", "dest": r"C:\ProgramData\kept.txt"}},
    {"ansible.windows.win_copy": {"content": "kept", "dest": r"C:\ProgramData\kept.txt"}},
    {"ansible.windows.slurp": {"src": r"C:\ProgramData\kept.txt"}},
    {"ansible.windows.win_stat": {"path": r"C:\ProgramData\lost.txt"}},
    {"ansible.windows.win_regedit": {"path": r"HKLM:\SOFTWARE\Lab", "name": "n", "data": 7, "type": "dword"}},
    {"ansible.windows.win_reg_stat": {"path": r"HKLM:\SOFTWARE\Lab", "name": "n"}},
    {"ansible.windows.win_shell": "hostname", "async": 30, "poll": 1},
    {"ansible.windows.win_dsc": {"resource_name": "File"}},
    {"ansible.windows.win_service": {"name": "Spooler", "colour": "red"}},
    {"ansible.windows.win_service": {"name": "Spooler", "force_dependent_services": True}},
    {"ansible.windows.win_shell": "Format-Volume D"},
]


@pytest.fixture(scope="module")
def windows(new_windows_lab: Callable[..., WindowsLab]) -> WindowsLab:
    return new_windows_lab("win1", "win2", *(_name(*way) for way in WAYS))


@pytest.fixture(scope="module")
def logged_in(windows: WindowsLab, tmp_path_factory: pytest.TempPathFactory) -> Played:
    ways = {_name(*way): login(windows, *way) for way in WAYS}
    return play(tmp_path_factory.mktemp("logins"), hosts(windows, **ways), [{"ansible.windows.win_ping": {}}])


@pytest.fixture(scope="module")
def played(windows: WindowsLab, tmp_path_factory: pytest.TempPathFactory) -> Played:
    inventory = hosts(windows, win1=login(windows, "winrm"), win2=login(windows, "psrp"))
    return play(tmp_path_factory.mktemp("modules"), inventory, TASKS)


@pytest.fixture(params=["win1", "win2"], ids=["winrm", "psrp"])
def host(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize(("plugin", "kind"), WAYS)
def test_ansible_logs_in_by_each_kind_with_both_plugins(
    windows: WindowsLab, logged_in: Played, plugin: str, kind: str
) -> None:
    name = _name(plugin, kind)
    assert logged_in[name][0]["ping"] == "pong"
    kinds = {entry.details["kind"] for entry in windows.journal(name, "login")}
    assert kinds == {kind.removesuffix("-https")}
    assert not windows.journal(name, "login-refused")


def test_facts_are_those_of_the_host(played: Played, host: str) -> None:
    facts = played[host][0]["ansible_facts"]
    assert facts["ansible_hostname"] == host
    assert facts["ansible_os_family"] == "Windows"
    assert facts["ansible_reboot_pending"] is False
    assert facts["ansible_uptime_seconds"] > 86400


def test_scripts_that_are_known_are_answered(played: Played, host: str) -> None:
    assert played[host][1]["stdout"].strip() == host
    assert played.outcomes(host)[2] == "skipped", "check mode runs no command"
    assert played[host][3]["output"] == []


def test_services_files_and_registry_keep_what_they_are_given(windows: WindowsLab, played: Played, host: str) -> None:
    stopped, told, copied, again, read, lost, written, value = played[host][4:12]
    assert (stopped["changed"], stopped["state"], told["services"][0]["state"]) == (True, "stopped", "stopped")
    assert (copied["changed"], again["changed"]) == (True, False)
    assert read["content"] == "a2VwdA=="
    assert lost["stat"] == {"exists": False}
    assert (written["changed"], value["value"], value["type"]) == (True, 7, "REG_DWORD")
    assert windows.host(host)["services"]["Spooler"] == "stopped"
    assert windows.read_file(host, r"c:\programdata\KEPT.txt") == "kept"
    with pytest.raises(LabError, match=r"no file C:.lost; it has: .*kept\.txt"):
        windows.read_file(host, r"C:\lost")


def test_job_in_the_background_is_waited_for(played: Played, host: str) -> None:
    assert played[host][12]["stdout"].strip() == host


def test_what_the_lab_does_not_know_fails_and_is_named(windows: WindowsLab, played: Played, host: str) -> None:
    module, option, documented, script = played[host][13:]
    assert {one.outcome for one in (module, option, documented, script)} == {"failed"}
    assert "win_dsc is not simulated" in module.told
    assert "Unsupported parameters for (win_service) module: colour" in option.told
    assert "does not know the option force_dependent_services" in documented.told
    assert "does not know this powershell script" in script.told
    assert "Format-Volume D" in str(windows.journal(host, "unknown-script")[-1].details)


@pytest.mark.parametrize("kind", ["ntlm", "credssp", "certificate", "basic"])
def test_pywinrm_runs_a_command_by_each_kind(windows: WindowsLab, kind: str) -> None:
    assert run(pywinrm(windows, kind), "hostname") == ("win1\r\n", 0)


@pytest.mark.parametrize("kind", ["ntlm", "credssp", "certificate", "basic"])
def test_pypsrp_runs_a_script_by_each_kind(windows: WindowsLab, kind: str) -> None:
    with pypsrp_client(windows, kind) as client:
        _, streams, _ = client.execute_ps("Format-Volume D")
        assert "does not know this powershell script" in str(streams.error[0])
        output, _, had_errors = client.execute_ps("hostname")
    assert (output, had_errors) == ("win1", False)


def test_http_is_refused_unless_its_messages_are_sealed(windows: WindowsLab) -> None:
    protocol = pywinrm(windows, "ntlm", message_encryption="never")
    with pytest.raises(WinRMTransportError, match="500"):
        run(protocol, "hostname")
    assert windows.journal("win1", "unencrypted-refused")


def test_wrong_password_and_unknown_authority_are_refused(windows: WindowsLab) -> None:
    with pytest.raises(InvalidCredentialsError):
        run(pywinrm(windows, "ntlm", password="wrong"), "hostname")
    assert windows.journal("win1", "login-refused")
    with pytest.raises(OSError, match="certificate verify failed"):
        run(pywinrm(windows, "basic", ca_trust_path=str(windows.certificates / "client.pem")), "hostname")


def test_restored_snapshot_takes_back_what_came_after_it(windows: WindowsLab) -> None:
    before = windows.host("win2")["boot_time"]
    windows.snapshot("win2", "before")
    windows.publish("KB5034765", "win2")
    assert windows.host("win2")["updates"]["KB5034129"] == "superseded"
    windows.restore("win2", "before")
    after = windows.host("win2")
    assert after["updates"]["KB5034129"] == "available"
    assert after["boot_time"] > before
    assert windows.journal("win2", "restored")
    with pytest.raises(LabError, match=r"no snapshot other.*before"):
        windows.restore("win2", "other")


def test_instances_stand_side_by_side_and_end_with_their_owner(windows: WindowsLab, tmp_path: Path) -> None:
    other = WindowsLab("other", tmp_path)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as owner:
        address = other.up("win1", owner=owner.pid)[0].address
        assert address not in [one.address for one in windows.hosts()]
        assert run(pywinrm(other, "ntlm"), "hostname") == ("win1\r\n", 0)
        owner.send_signal(signal.SIGKILL)
    until = time.monotonic() + 5
    while other.is_running and time.monotonic() < until:
        time.sleep(0.05)
    assert not other.is_running
    assert other.journal("win1", "script"), "what was done is still told"
    other.down()
    assert not other.folder.exists()
    assert windows.is_running


def test_command_line_brings_hosts_up_and_tells_how_they_stand(tmp_path: Path) -> None:
    def lab(*words: str) -> str:
        command = [sys.executable, "-m", "lab", "--instance", "cli", "windows", *words]
        environment = {**os.environ, "PATCH_LAB_ROOT": str(tmp_path)}
        return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout

    try:
        assert lab("up", "win1", "--group", "staging", "--owner", str(os.getpid())).startswith("win1 127.77.")
        lab("fault", "win1", "never-back")
        assert "no reboot pending, faults: never-back" in lab("status")
        assert "fault-set kind=never-back" in lab("journal", "win1")
        assert "staging:" in lab("inventory", "--connection", "psrp")
    finally:
        lab("down")
    assert list(tmp_path.rglob("*.yml")) == []


def pywinrm(windows: WindowsLab, kind: str, **more: Any) -> Protocol:
    user, password = windows.account
    address = windows.hosts()[0].address
    secure = AUTHENTICATION[kind]
    options: dict[str, Any] = {"username": user, "password": password, "proxy": None, "transport": kind}
    options["ca_trust_path"] = str(windows.certificates / "authority.pem")
    if kind == "certificate":
        options["cert_pem"] = str(windows.certificates / "client.pem")
        options["cert_key_pem"] = str(windows.certificates / "client.key")
    url = f"https://{address}:5986/wsman" if secure else f"http://{address}:5985/wsman"
    return Protocol(url, **{**options, **more})


def pypsrp_client(windows: WindowsLab, kind: str) -> pypsrp.client.Client:
    user, password = windows.account
    secure = AUTHENTICATION[kind]
    options: dict[str, Any] = {"username": user, "password": password, "ssl": secure, "no_proxy": True, "auth": kind}
    if secure:
        options["cert_validation"] = str(windows.certificates / "authority.pem")
    if kind == "certificate":
        options["certificate_pem"] = str(windows.certificates / "client.pem")
        options["certificate_key_pem"] = str(windows.certificates / "client.key")
    return pypsrp.client.Client(windows.hosts()[0].address, port=5986 if secure else 5985, **options)


def run(protocol: Protocol, command: str) -> tuple[str, int]:
    shell = protocol.open_shell()
    try:
        begun = protocol.run_command(shell, command)
        stdout, _, code = protocol.get_command_output(shell, begun)
        protocol.cleanup_command(shell, begun)
    finally:
        protocol.close_shell(shell)
    return stdout.decode(), code


def _name(plugin: str, kind: str) -> str:
    return f"{plugin}-{kind}"
