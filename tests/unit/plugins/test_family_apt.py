"""The apt family, on what apt and dpkg really said on a Debian 12 host."""

from pathlib import Path
from typing import Any

import pytest

from tests.unit.plugins.rpm_support import FakeShell, load
from tests.unit.plugins.test_apt_text import POLICY, RELEASES

family_apt = load("family_apt")
model = load("model")
PatchError = load("errors").PatchError

QUERY = (
    "ii \tlibc6\tamd64\t2.36-9+deb12u14\n"
    "hi \topenssl\tamd64\t3.0.20-1~deb12u2\n"
    "iF \tbroken\tamd64\t1.0\n"
    "rc \tgone\tamd64\t1.0\n"
    "un \tnever\tamd64\t\n"
)
SHOWN = """\
Package: openssl
Version: 3.0.22-1~deb12u2
Architecture: amd64
Depends: libc6 (>= 2.34), libssl3 (>= 3.0.9)
Filename: pool/updates/main/o/openssl/openssl_3.0.22-1~deb12u2_amd64.deb
Size: 1441784
SHA256: 5cdf0b735b1c8a96ae0bf83ed328c83c2170f8320dedb035e98705b60b2d0cfe
"""
INSTALLED = """\
Package: openssl
Status: install ok installed
Version: 3.0.20-1~deb12u2
Architecture: amd64
Depends: libc6 (>= 2.34), libssl3 (= 3.0.20-1~deb12u2)
Conffiles:
 /etc/ssl/openssl.cnf 0123456789abcdef0123456789abcdef
"""
SHA256 = "5cdf0b735b1c8a96ae0bf83ed328c83c2170f8320dedb035e98705b60b2d0cfe"


def policy(argv: list[str]) -> str:
    return POLICY if len(argv) > 2 else RELEASES


ANSWERS: dict[str, Any] = {
    "dpkg --print-architecture": "amd64\n",
    "dpkg-query --show": QUERY,
    "apt-cache policy": policy,
    "apt-cache show": SHOWN,
    "dpkg-query --status": INSTALLED,
}
OPENSSL = model.Item("openssl", "amd64", "3.0.22-1~deb12u2", "3.0.20-1~deb12u2", SHA256, "openssl.deb", 1441784)


def family(tmp_path: Path, **answers: Any) -> tuple[Any, FakeShell]:
    shell = FakeShell({**answers, **ANSWERS})
    states = tmp_path / "extended_states"
    states.write_text("Package: openssl\nArchitecture: amd64\nAuto-Installed: 1\n")
    return family_apt.FamilyApt(shell, str(tmp_path / "apt"), str(states)), shell


def test_installed_packages_come_with_their_holds_and_half_states(tmp_path: Path) -> None:
    apt, _shell = family(tmp_path)
    assert [(one.name, one.held) for one in apt.installed()] == [("libc6", False), ("openssl", True), ("broken", False)]


def test_candidates_are_asked_for_once_and_classified_by_their_origin(tmp_path: Path) -> None:
    apt, shell = family(tmp_path)
    found = apt.candidates(apt.installed())
    assert found == [
        {
            "name": "openssl", "arch": "amd64", "from_version": "3.0.20-1~deb12u2", "version": "3.0.22-1~deb12u2",
            "classification": "security", "severity": "", "advisories": [], "origin": "Debian:12/Debian-Security",
            "sha256": SHA256, "filename": "openssl_3.0.22-1~deb12u2_amd64.deb", "size": 1441784, "published": 0,
            "held": True,
        }
    ]  # fmt: skip
    assert len(shell.called("apt-cache show")) == 1


def test_version_that_no_repository_has_is_described_after_the_installed_one(tmp_path: Path) -> None:
    apt, _shell = family(tmp_path)
    dropped = OPENSSL._replace(version="3.0.21-1~deb12u1")
    assert apt.describe([dropped]) == []
    apt.simulate([dropped], [], "")
    index = (tmp_path / "apt/index/Packages").read_text()
    assert "Version: 3.0.21-1~deb12u1" in index
    assert "libssl3 (= 3.0.21-1~deb12u1)" in index
    assert "Conffiles" not in index
    assert "Status" not in index


def test_simulation_sees_the_private_repository_and_nothing_else(tmp_path: Path) -> None:
    apt, shell = family(tmp_path)
    apt.simulate([OPENSSL], [], "")
    simulated = next(call for call in shell.calls if "-s" in call)
    assert "Dir::Etc::SourceParts=/dev/null" in simulated
    assert f"Dir::Etc::SourceList={tmp_path}/apt/sources.list" in simulated
    assert f"SHA256: {SHA256}" in (tmp_path / "apt/index/Packages").read_text()


def test_package_that_is_kept_back_is_told_with_apts_reason(tmp_path: Path) -> None:
    unmet = (
        "The following packages have unmet dependencies:\n openssl : Depends: libssl3 (>= 9)\nE: Unable to correct\n"
    )
    apt, _shell = family(tmp_path, **{"install openssl:amd64=3.0.22-1~deb12u2": (100, unmet, "")})
    problems = apt.simulate([OPENSSL], [], "").problems
    assert problems == ["kept back openssl: openssl : Depends: libssl3 (>= 9)"]


def test_restore_is_one_transaction_with_downgrades_and_removals(tmp_path: Path) -> None:
    apt, shell = family(tmp_path)
    old = model.Secured("openssl", "amd64", "3.0.20-1~deb12u2", "old.deb", "0" * 64, "cache")
    apt.restore([old], ["added:amd64", "texts:all"], str(tmp_path), str(tmp_path / "log"))
    call = next(call for call in shell.calls if "--allow-downgrades" in call)
    assert call[-3:] == ["openssl:amd64=3.0.20-1~deb12u2", "added:amd64-", "texts-"]
    assert "Dpkg::Options::=--force-confold" in call


def test_failed_transaction_is_told_with_apts_words(tmp_path: Path) -> None:
    said = (100, "Setting up openssl\n", "E: Sub-process /usr/bin/dpkg returned an error code (1)\n")
    apt, _shell = family(tmp_path, **{"upgrade --with-new-pkgs --no-remove": said})
    with pytest.raises(PatchError, match=r"ended with 100: E: Sub-process .*log"):
        apt.install([OPENSSL], [], "", str(tmp_path / "log"))
    assert "Setting up openssl" in (tmp_path / "log").read_text()


def test_marks_are_changed_only_where_they_differ(tmp_path: Path) -> None:
    apt, shell = family(tmp_path)
    marks = model.Marks(frozenset({"libc6:amd64"}), frozenset())
    apt.give_marks(marks, {"libc6:amd64", "openssl:amd64", "gone:amd64"})
    assert [call[1:] for call in shell.calls if call[0] == "apt-mark"] == [
        ["auto", "libc6:amd64"],
        ["manual", "openssl:amd64"],
        ["unhold", "openssl:amd64"],
    ]


def test_only_packages_with_a_kernel_of_their_own_are_kernels(tmp_path: Path) -> None:
    apt, _shell = family(tmp_path)
    assert apt.is_kernel("linux-image-6.1.0-41-amd64")
    assert apt.is_kernel("linux-modules-extra-6.8.0-45-generic")
    assert not apt.is_kernel("linux-image-amd64")
    assert not apt.is_kernel("linux-libc-dev")
