"""Which package family a host has, and that the others cost nothing there."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.unit.plugins.rpm_support import FakeShell, load

_PLACE = "ansible.module_utils.patch_host.family_"
NAMES = ("apt", "dnf", "zypper")


@pytest.fixture(autouse=True)
def unread() -> Iterator[None]:
    """Let no family have been read before, and put back what was."""
    known = {name: module for name, module in sys.modules.items() if name.startswith(_PLACE)}
    for name in known:
        del sys.modules[name]
    yield
    for name in [name for name in sys.modules if name.startswith(_PLACE)]:
        del sys.modules[name]
    sys.modules.update(known)


def read() -> set[str]:
    """Name the families whose code was read."""
    return {name.removeprefix(_PLACE) for name, module in sys.modules.items() if name.startswith(_PLACE) and module}


@pytest.mark.parametrize("name", NAMES)
def test_only_the_family_that_is_asked_for_is_read(name: str) -> None:
    family = load("family").family_for(name, FakeShell({}))
    assert type(family).__name__ == f"Family{name.title()}"
    assert read() == {name}


def test_unknown_family_is_refused_with_the_names_of_those_there_are() -> None:
    with pytest.raises(load("errors").PatchError, match="Package family pacman was asked for; known are apt, dnf, zyp"):
        load("family").family_for("pacman", FakeShell({}))


def test_site_can_do_without_a_family(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, f"{_PLACE}dnf", None)
    with pytest.raises(load("errors").PatchError, match=r"known are apt, zypper[.]"):
        load("family").family_for("dnf", FakeShell({}))


def test_host_without_a_known_package_manager_is_said() -> None:
    class Bare(FakeShell):
        def has(self, program: str) -> bool:
            return False

    with pytest.raises(load("errors").PatchError, match="apt, dnf, zypper was found on this host"):
        load("family").family_for("", Bare({}))
