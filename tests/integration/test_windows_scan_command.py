"""`orchestrator host scan` on Windows hosts, with their password kept in each of the ways that a site has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from lab.windows.instance import WindowsLab
from tests.commands import Site

LOOKUP = "{{ lookup('ansible.builtin.env', 'WINDOWS_PASSWORD') }}"


@pytest.fixture
def lab(new_windows_lab: Callable[..., WindowsLab]) -> WindowsLab:
    return new_windows_lab("win1", "win2")


def site_with(folder: Path, lab: WindowsLab, password: str = "") -> Site:
    """Found a site whose production is the lab; without a password its inventory names the lab's file."""
    site = Site.found(folder)
    inventory = yaml.safe_load(lab.inventory("psrp", "ntlm"))
    if password:
        inventory["all"]["vars"]["ansible_password"] = password
    (site.folder / "inventories/production/hosts.yml").write_text(yaml.safe_dump(inventory))
    return site


def test_password_in_a_file(tmp_path: Path, lab: WindowsLab) -> None:
    found = site_with(tmp_path, lab).give("host", "scan", "all", "--in", "production", "--json").json
    assert [(one["host"], one["failed_at"]) for one in found] == [("win1", None), ("win2", None)]
    assert all(one["uptime"] > 0 for one in found)


def test_password_in_a_variable(tmp_path: Path, lab: WindowsLab) -> None:
    site = site_with(tmp_path, lab, LOOKUP)
    site.give("host", "scan", "win1", "--in", "production", WINDOWS_PASSWORD=lab.account[1])


def test_password_behind_a_command(tmp_path: Path, lab: WindowsLab) -> None:
    site = site_with(tmp_path, lab, LOOKUP)
    site.set(f'[secrets]\nWINDOWS_PASSWORD = {{command = ["cat", "{lab.folder}/password"]}}')
    site.give("host", "scan", "win1", "--in", "production")


def test_password_that_nobody_can_type_is_told_and_nothing_is_tried(tmp_path: Path, lab: WindowsLab) -> None:
    site = site_with(tmp_path, lab, LOOKUP)
    site.set('[secrets]\nWINDOWS_PASSWORD = {prompt = "Password of the lab"}')
    (told,) = site.give("host", "scan", "win1", "--in", "production", "--json", code=1).json
    assert told["failed_at"] == "authenticate"
    assert 'the secret "Password of the lab" is typed at a terminal, and nobody can be asked here' in told["detail"]
    assert lab.journal("win1", "login-refused") == []


def test_wrong_password_is_refused_once_and_never_shown(tmp_path: Path, lab: WindowsLab) -> None:
    site = site_with(tmp_path, lab, LOOKUP)
    said = site.give("host", "scan", "all", "--in", "production", code=1, WINDOWS_PASSWORD="wrong-horse-battery")
    assert "wrong-horse-battery" not in said.out + said.err
    assert sum(len(lab.journal(name, "login-refused")) for name in ("win1", "win2")) == 1
