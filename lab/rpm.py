"""Builds the lab's packages and their index for dnf and zypper."""

import os
import platform
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree as ET

from lab import deb, packages
from lab.commands import run
from lab.packages import Package

_MACROS = {
    "debug_package": "%{nil}",
    "__os_install_post": "%{nil}",
    "_build_id_links": "none",
    "_buildhost": "lab",
    "_binary_payload": "w1.gzdio",
    "use_source_date_epoch_as_buildtime": "1",
    "clamp_mtime_to_source_date_epoch": "1",
}
RELEASE = "1"


def build(package: Package, pool: Path) -> None:
    """Build the package's .rpm file into the pool."""
    with TemporaryDirectory(prefix="patch-lab-") as folder:
        tree = Path(folder, "tree")
        tree.mkdir()
        deb.write_tree(package, tree)
        build_from(_spec(package, tree), pool)


def build_from(spec: str, pool: Path) -> None:
    """Build what a spec file says into the pool."""
    pool.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="patch-lab-") as folder:
        path = Path(folder, "package.spec")
        path.write_text(spec)
        macros = {**_MACROS, "_topdir": folder, "_rpmdir": str(pool), "_build_name_fmt": file_pattern()}
        defined = [word for name, value in macros.items() for word in ("--define", f"{name} {value}")]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": deb.BUILT_AT}
        run(["rpmbuild", "-bb", "--quiet", *defined, str(path)], environment=environment)


def index(folder: Path, published: Iterable[Package]) -> None:
    """Write repodata with an advisory for each package, as a distribution does (updateinfo.xml)."""
    (folder / "pool").mkdir(parents=True, exist_ok=True)
    run(["createrepo_c", "--quiet", "--update", str(folder)])
    with TemporaryDirectory(prefix="patch-lab-") as scratch:
        path = Path(scratch, "updateinfo.xml")
        path.write_text(_updateinfo(published))
        run(["modifyrepo_c", "--mdtype=updateinfo", str(path), str(folder / "repodata")])


def file_name(package: Package) -> str:
    return f"{package.name}-{package.version}-{RELEASE}.{platform.machine()}.rpm"


def file_pattern() -> str:
    return "%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm"


def _spec(package: Package, tree: Path) -> str:
    configured = [f"%config(noreplace) {name}" for name in package.conffiles]
    listed = [name for name in packages.files(package) if name not in package.conffiles]
    lines = [
        f"Name: {package.name}",
        f"Version: {package.version}",
        f"Release: {RELEASE}",
        f"Summary: Test package of the lab ({package.behaviour})",
        "License: Apache-2.0",
        "AutoReqProv: no",
        *(f"Requires: {name}" for name in package.requires),
        "%description",
        "Made by the lab.",
        "%install",
        f"cp -a {tree}/. %{{buildroot}}/",
        *_script("%pre", packages.before_install(package, "rpm")),
        *_script("%post", packages.after_install(package, "rpm")),
        *_script("%preun", _only_on_removal(packages.before_removal(package))),
        "%files",
        *listed,
        *configured,
    ]
    return "\n".join(lines) + "\n"


def _script(section: str, text: str) -> list[str]:
    return [section, text] if text else []


def _only_on_removal(lines: str) -> str:
    """Guard lines that must not run on an upgrade: there $1 counts the versions that stay."""
    return f'[ "$1" = 0 ] || exit 0\n{lines}' if lines else ""


def _updateinfo(published: Iterable[Package]) -> str:
    updates = ET.Element("updates")
    for package in published:
        kind = "security" if package.security else "bugfix"
        update = ET.SubElement(updates, "update", {"from": "lab", "status": "final", "type": kind, "version": "1"})
        ET.SubElement(update, "id").text = package.advisory or f"PL-{package.name}-{package.version}"
        ET.SubElement(update, "title").text = f"{package.name} {package.version}"
        ET.SubElement(update, "severity").text = package.severity.capitalize() or "None"
        ET.SubElement(update, "issued", {"date": "2023-11-14 22:13:20"})
        ET.SubElement(update, "description").text = "Made by the lab."
        collection = ET.SubElement(ET.SubElement(update, "pkglist"), "collection", {"short": "lab"})
        ET.SubElement(collection, "name").text = "Patch Lab"
        _add_package(collection, package)
    return ET.tostring(updates, encoding="unicode")


def _add_package(collection: ET.Element, package: Package) -> None:
    place = {"name": package.name, "version": package.version, "release": RELEASE, "epoch": "0"}
    entry = ET.SubElement(collection, "package", {**place, "arch": platform.machine(), "src": ""})
    ET.SubElement(entry, "filename").text = file_name(package)
    if package.behaviour == "needs-reboot":
        ET.SubElement(entry, "reboot_suggested").text = "True"
