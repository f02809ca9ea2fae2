"""Kerberos logins to the lab's Windows hosts, in a realm that is made for the test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.windows import kdc
from lab.windows.instance import WindowsLab
from lab.windows.kdc import Realm
from lab.windows.pytest_plugin import temporary_windows_lab
from orchestrator.adapters.probes.winrm import WinRmProbe
from orchestrator.domain.probe import Needs, Stage
from tests.windows_hosts import hosts_of
from tests.windows_play import hosts, login, play

ACCOUNTS = {"Administrator": "Correct-Horse-7"}


@pytest.fixture(scope="module")
def realm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Realm]:
    if missing := kdc.missing():
        pytest.skip(f"Kerberos is not installed (script/bootstrap --dev does it): {missing}")
    with kdc.running(tmp_path_factory.mktemp("realm"), "127.0.0.1", ["win-winrm", "win-psrp"], ACCOUNTS) as realm:
        yield realm


@pytest.fixture(scope="module")
def windows(realm: Realm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WindowsLab]:
    folder = tmp_path_factory.mktemp("windows")
    (folder / "realm.yml").write_text(f"accounts: {ACCOUNTS}\nevery_host: {{authentication: [negotiate, kerberos]}}\n")
    with temporary_windows_lab(folder) as lab:
        lab.up("win-winrm", "win-psrp", scenario=folder / "realm.yml", owner=os.getpid(), realm=realm)
        yield lab


@pytest.mark.parametrize("plugin", ["winrm", "psrp"])
def test_ansible_logs_in_by_kerberos(
    windows: WindowsLab, realm: Realm, plugin: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KRB5_CONFIG", str(realm.config))
    name = f"win-{plugin}"
    played = play(
        tmp_path, hosts(windows, **{name: login(windows, plugin, "kerberos")}), [{"ansible.windows.win_ping": {}}]
    )
    assert played.outcomes(name) == ["ok"], played[name][0].told
    assert {entry.details["kind"] for entry in windows.journal(name, "login")} == {"kerberos"}


def test_hosts_without_a_realm_offer_no_kerberos_login(tmp_path: Path) -> None:
    with temporary_windows_lab(tmp_path) as lab:
        lab.up("win1", owner=os.getpid())
        with pytest.raises(LabError, match="belong to no Kerberos realm"):
            lab.inventory("winrm", "kerberos")


def test_what_is_missing_of_kerberos_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kdc, "_COMMANDS", ("krb5-of-nobody",))
    assert "krb5-of-nobody" in kdc.missing()


@pytest.fixture
def looking(realm: Realm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process ask the realm, and forget afterwards where a look keeps its tickets."""
    monkeypatch.setenv("KRB5_CONFIG", str(realm.config))
    monkeypatch.setenv("KRB5CCNAME", "")


@pytest.mark.usefixtures("looking")
@pytest.mark.parametrize("plugin", ["winrm", "psrp"])
def test_direct_look_logs_in_by_kerberos(windows: WindowsLab, plugin: str) -> None:
    name = f"win-{plugin}"
    before = len(windows.journal(name, "login"))
    (host,) = [one for one in hosts_of(windows, plugin, "kerberos") if one.name == name]
    (report,) = WinRmProbe(timeout=10).look([host], Needs())
    assert (report.failed_at, report.detail) == (None, "")
    assert {entry.details["kind"] for entry in windows.journal(name, "login")[before:]} == {"kerberos"}


@pytest.mark.usefixtures("looking")
def test_password_that_the_realm_refuses_is_tried_once_and_at_no_host(windows: WindowsLab) -> None:
    before = [len(windows.journal(name, "login")) for name in ("win-winrm", "win-psrp")]
    found = WinRmProbe(timeout=10).look(hosts_of(windows, "winrm", "kerberos", ansible_password="wrong"), Needs())
    assert {report.failed_at for report in found} == {Stage.AUTHENTICATE}
    asked = [report for report in found if "the realm gave no ticket for Administrator" in report.detail]
    assert len(asked) == 1, [report.detail for report in found]
    assert [len(windows.journal(name, "login")) for name in ("win-winrm", "win-psrp")] == before
