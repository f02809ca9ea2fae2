"""The lab's own repository of one instance: what is published there can be decided to the byte."""

import json
from dataclasses import asdict, replace
from pathlib import Path

from lab import deb, packages, rpm
from lab.errors import LabError
from lab.locks import locked
from lab.packages import Package

SUITES = ("lab", "lab-security")


class Repository:
    """The packages that an instance's hosts are offered, for apt and for dnf and zypper alike."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def publish(self, *wanted: Package) -> None:
        """Offer packages to the hosts; publishing one again replaces it."""
        for package in wanted:
            packages.check(package)
        with locked(self.folder / "lock"):
            kept = {package.key: package for package in self.published()}
            for package in [*wanted, *_companions(wanted)]:
                self._delete_files(package)
                deb.build(package, self.folder / "apt/pool" / _suite(package))
                rpm.build(package, self.folder / "rpm/pool")
                kept[package.key] = package
            self._write(list(kept.values()))

    def withdraw(self, name: str, version: str) -> None:
        """Drop a version as distributions do; what is not there is no error."""
        with locked(self.folder / "lock"):
            gone = {(name, version), (f"{name}-extra", version)}
            for package in self.published():
                if package.key in gone:
                    self._delete_files(package)
            self._write([package for package in self.published() if package.key not in gone])

    def latest(self, name: str) -> Package:
        """Return the version of the package that was published last."""
        found = [package for package in self.published() if package.name == name]
        if not found:
            raise LabError(f"The lab's repository offers no {name}; publish it first.")
        return found[-1]

    def published(self) -> list[Package]:
        """List what is offered, in the order of publishing."""
        path = self.folder / "published.json"
        return [Package(**kept) for kept in json.loads(path.read_text())] if path.exists() else []

    def ensure_index(self) -> None:
        """Make the indexes of an empty repository, so that the hosts' updates find one."""
        with locked(self.folder / "lock"):
            if not (self.folder / "published.json").exists():
                self._write([])

    def _write(self, published: list[Package]) -> None:
        deb.index(self.folder / "apt", SUITES)
        rpm.index(self.folder / "rpm", published)
        part = self.folder / "published.part"
        part.write_text(json.dumps([asdict(package) for package in published], indent=1))
        part.rename(self.folder / "published.json")

    def _delete_files(self, package: Package) -> None:
        for suite in SUITES:
            pool = self.folder / "apt/pool" / suite
            (pool / f"{package.name}_{package.version}_{deb.architecture()}.deb").unlink(missing_ok=True)
        (self.folder / "rpm/pool" / rpm.file_name(package)).unlink(missing_ok=True)


def _companions(wanted: tuple[Package, ...]) -> list[Package]:
    """Make the packages that others need: a new dependency is published along with what needs it."""
    needing = [package for package in wanted if package.requires]
    return [replace(package, name=name, behaviour="good") for package in needing for name in package.requires]


def _suite(package: Package) -> str:
    return "lab-security" if package.security else "lab"
