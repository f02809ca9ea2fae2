"""Builds the lab's packages and their index for apt."""

import os
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from lab import packages
from lab.commands import run
from lab.packages import Package

BUILT_AT = "1700000000"  # Packages made of the same description have the same bytes.


def build(package: Package, pool: Path) -> None:
    """Build the package's .deb file into the pool."""
    with TemporaryDirectory(prefix="patch-lab-") as folder:
        tree = Path(folder)
        write_tree(package, tree)
        _write_control(package, tree / "DEBIAN")
        target = pool / f"{package.name}_{package.version}_{architecture()}.deb"
        pool.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "SOURCE_DATE_EPOCH": BUILT_AT}
        command = ["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", str(tree), str(target)]
        run(command, environment=environment)


def write_tree(package: Package, tree: Path) -> None:
    """Write the package's files under a folder."""
    tree.chmod(0o755)
    for name, file in packages.files(package).items():
        path = tree / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
        path.chmod(file.mode)


def index(folder: Path, suites: Iterable[str]) -> None:
    """Write the indexes of the suites; a host that updates meanwhile sees the old ones or the new ones."""
    number = max((int(path.name.rpartition("-")[2]) for path in folder.glob("dists-*")), default=0)
    fresh = folder / f"dists-{number + 1}"
    for suite in suites:
        _index_suite(folder, fresh / suite, suite)
    _stamp_later(fresh, folder / "dists")
    link = folder / "dists.new"
    link.symlink_to(fresh.name)
    link.rename(folder / "dists")
    for old in folder.glob("dists-*"):
        if old != fresh:
            subprocess.run(["rm", "-rf", str(old)], check=True)


def architecture() -> str:
    return run(["dpkg", "--print-architecture"]).stdout.strip()


def _stamp_later(fresh: Path, before: Path) -> None:
    """Date an index after the one before: apt asks by whole seconds, and two may be made within one."""
    stamps = [int(path.stat().st_mtime) for path in before.rglob("Release")] if before.exists() else []
    stamp = max([int(time.time()), *(one + 1 for one in stamps)])
    for path in fresh.rglob("*"):
        os.utime(path, (stamp, stamp))


def _write_control(package: Package, folder: Path) -> None:
    folder.mkdir()
    fields = {
        "Package": package.name,
        "Version": package.version,
        "Architecture": architecture(),
        "Maintainer": "Patch Lab <lab@example.org>",
        "Section": "misc",
        "Priority": "optional",
        "Depends": ", ".join([*(["python3"] if package.is_service else []), *package.requires]),
        "Description": f"Test package of the lab ({package.behaviour})",
    }
    (folder / "control").write_text("".join(f"{name}: {value}\n" for name, value in fields.items() if value))
    (folder / "conffiles").write_text("".join(f"{path}\n" for path in package.conffiles))
    guard = '[ "$1" = configure ] || exit 0\n'
    _write_script(folder / "postinst", guard + packages.after_install(package, "apt"))
    _write_script(folder / "prerm", '[ "$1" = remove ] || exit 0\n' + packages.before_removal(package))


def _write_script(path: Path, lines: str) -> None:
    path.write_text(f"#!/bin/sh\nset -e\n{lines}")
    path.chmod(0o755)


def _index_suite(folder: Path, target: Path, suite: str) -> None:
    pool = folder / "pool" / suite
    pool.mkdir(parents=True, exist_ok=True)
    packages_file = target / "main" / f"binary-{architecture()}" / "Packages"
    packages_file.parent.mkdir(parents=True)
    packages_file.write_text(run(["apt-ftparchive", "packages", f"pool/{suite}"], cwd=folder).stdout)
    label = "Patch Lab Security" if suite.endswith("-security") else "Patch Lab"
    fields = {"Origin": "Patch Lab", "Label": label, "Suite": suite, "Codename": suite}
    fields |= {"Architectures": architecture(), "Components": "main"}
    options = [f"-oAPT::FTPArchive::Release::{name}={value}" for name, value in fields.items()]
    (target / "Release").write_text(run(["apt-ftparchive", *options, "release", str(target)]).stdout)
