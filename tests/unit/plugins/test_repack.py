"""Rebuilding a package's file from what is installed, with the real dpkg-deb on a small root of its own."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.unit.plugins.rpm_support import FakeShell, load

repack = load("repack")
model = load("model")
Shell = load("shell").Shell

pytestmark = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")

STATUS = """\
Package: tool
Status: install ok installed
Version: 1:1.0-1
Architecture: all
Maintainer: Nobody <nobody@example.org>
Depends: libc6
Conffiles:
 /etc/tool.conf 0123456789abcdef0123456789abcdef
 /etc/tool.old 0123456789abcdef0123456789abcdef obsolete
Description: a tool
 that is not there
"""


class Dpkg(FakeShell):
    """Answers for the status; what builds files is real."""

    def run(self, argv: Any, timeout: int | None = None, stdin: str = "", **more: object) -> Any:
        if argv[0] == "dpkg-deb":
            return Shell().run(argv)
        return super().run(argv, timeout, stdin, **more)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A host with the package `tool`: a folder that is a link, a hard link, a diverted file."""
    root, info = tmp_path / "root", tmp_path / "dpkg/info"
    for folder in (root / "usr/bin", root / "etc", info):
        folder.mkdir(parents=True)
    (root / "bin").symlink_to("usr/bin")
    (root / "usr/bin/tool").write_text("#!/bin/sh\n")
    (root / "usr/bin/tool").chmod(0o4755)
    os.link(root / "usr/bin/tool", root / "usr/bin/tool2")
    (root / "usr/bin/sh.tool").write_text("the package's own\n")
    (root / "usr/bin/sh").write_text("another's\n")
    (root / "etc/tool.conf").write_text("changed by the administrator\n")
    (info / "tool.list").write_text("/.\n/bin\n/bin/tool\n/bin/tool2\n/bin/sh\n/etc\n/etc/tool.conf\n")
    (info / "tool.conffiles").write_text("/etc/tool.conf\n")
    (info / "tool.postinst").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "dpkg/diversions").write_text("/bin/sh\n/bin/sh.tool\nother\n")
    return root


def rebuild(root: Path, target: Path) -> str:
    dpkg = Dpkg({"--status": STATUS})
    rebuilder = repack.Repacker(dpkg, str(root.parent / "dpkg"), f"{root}/")
    problem: str = rebuilder.repack(model.Package("tool", "all", "1:1.0-1", False, False), str(target))
    return problem


def test_rebuilt_package_has_the_same_files_scripts_and_relations(root: Path, tmp_path: Path) -> None:
    target = tmp_path / "out/tool.deb"
    assert rebuild(root, target) == ""
    unpacked = tmp_path / "unpacked"
    subprocess.run(["dpkg-deb", "--raw-extract", str(target), str(unpacked)], check=True)
    assert (unpacked / "bin").is_dir()
    assert not (unpacked / "bin").is_symlink()
    assert (unpacked / "bin/tool").stat().st_mode & 0o7777 == 0o4755
    assert (unpacked / "bin/tool2").stat().st_ino == (unpacked / "bin/tool").stat().st_ino
    assert (unpacked / "bin/sh").read_text() == "the package's own\n"
    assert (unpacked / "etc/tool.conf").read_text() == "changed by the administrator\n"
    assert (unpacked / "DEBIAN/conffiles").read_text() == "/etc/tool.conf\n"
    assert (unpacked / "DEBIAN/postinst").stat().st_mode & 0o777 == 0o755
    control = (unpacked / "DEBIAN/control").read_text()
    assert "Depends: libc6" in control
    assert "that is not there" in control
    assert "Status" not in control
    assert "obsolete" not in control


def test_folders_are_open_to_everybody_as_in_any_package(root: Path, tmp_path: Path) -> None:
    target = tmp_path / "out/tool.deb"
    rebuild(root, target)
    listing = subprocess.run(["dpkg-deb", "-c", str(target)], check=True, capture_output=True, text=True).stdout
    assert listing.splitlines()[0].startswith("drwxr-xr-x")


def test_package_with_files_missing_on_the_host_is_not_rebuilt(root: Path, tmp_path: Path) -> None:
    (root / "usr/bin/tool2").unlink()
    assert "/bin/tool2" in rebuild(root, tmp_path / "out/tool.deb")
    assert list((tmp_path / "out").iterdir()) == []


def test_deleted_configuration_file_is_left_out(root: Path, tmp_path: Path) -> None:
    (root / "etc/tool.conf").unlink()
    assert rebuild(root, tmp_path / "out/tool.deb") == ""
