"""Kerberos logins to the lab's Windows hosts, in a realm that is made for the test; where krb5 is installed."""

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
from tests.windows_play import hosts, login, play

ACCOUNTS = {"Administrator": "Correct-Horse-7"}


@pytest.fixture(scope="module")
def realm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Realm]:
    with kdc.running(tmp_path_factory.mktemp("realm"), "127.0.0.1", ["win-winrm", "win-psrp"], ACCOUNTS) as realm:
        yield realm


@pytest.fixture(scope="module")
def windows(realm: Realm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WindowsLab]:
    folder = tmp_path_factory.mktemp("windows")
    (folder / "realm.yml").write_text(f"accounts: {ACCOUNTS}\nevery_host: {{authentication: [negotiate, kerberos]}}\n")
    with temporary_windows_lab(folder) as lab:
        lab.up("win-winrm", "win-psrp", scenario=folder / "realm.yml", owner=os.getpid(), realm=realm)
        yield lab


# All of Kerberos is compiled for the machine: where it is missing, its kind alone is left out.
if not kdc.missing():

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
