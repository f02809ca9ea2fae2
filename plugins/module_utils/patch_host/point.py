"""The rollback point of one change on this host: the old files, and how packages and marks stood."""

import os
import shutil

from ansible.module_utils.patch_host.errors import PatchError
from ansible.module_utils.patch_host.files import FOLDER, make_folder, read_json, sha256_of, size_of, write_json
from ansible.module_utils.patch_host.lock import reported
from ansible.module_utils.patch_host.model import Marks, Missing, Secured
from ansible.module_utils.patch_host.state import key


class Point:
    """`points/<change>/`: point.json (the report), before.json (packages, marks, kernel), transaction.json, files."""

    def __init__(self, change, folder=FOLDER):
        self.folder = os.path.join(folder, "points", change)
        self.log = os.path.join(self.folder, "transaction.log")

    def take(self, family, packages):
        """Secure the files of installed `packages` and write the point down. Return (report, whether it is new).

        A point that is there already and covers these packages is kept: the host may be half patched by now, and a
        second point would keep the damage.
        """
        known = self.report()
        if known and _covered(known) >= {(one.name, one.arch, one.version) for one in packages}:
            return known, False
        make_folder(self.folder)
        self._remember_before(family.installed(), packages)
        report = self._secure(family, packages)
        write_json(self._path("point"), report)
        return report, True

    def _remember_before(self, installed, packages):
        """Write down how packages and marks stand. What was known before stays, but for the packages secured now."""
        before = read_json(self._path("before")) or {
            "packages": {key(package): package.version for package in installed},
            "auto": [key(package) for package in installed if package.auto],
            "held": [key(package) for package in installed if package.held],
            "kernel": os.uname().release,
        }
        before["packages"].update({key(package): package.version for package in packages})
        write_json(self._path("before"), before)

    def _secure(self, family, packages):
        kept = self.report() or {"items": []}
        wanted = {(package.name, package.arch) for package in packages}
        secured, missing = family.secure_old(packages, self.folder)
        items = [one for one in kept["items"] if (one["name"], one["arch"]) not in wanted]
        items += [dict(one._asdict()) for one in secured]
        lost = [dict(one._asdict()) for one in missing]
        lost += [
            dict(Missing(one.name, one.arch, one.version, "a kernel is never taken back")._asdict())
            for one in packages
            if family.is_kernel(one.name)
        ]
        return {
            "kind": "point",
            "provider": "packages",
            "class": "none" if lost else "package",
            "items": sorted(items, key=lambda one: (one["name"], one["arch"])),
            "missing": lost,
            "size": sum(os.path.getsize(os.path.join(self.folder, one["filename"])) for one in items),
        }

    def report(self):
        """Return the `point` report; None where no point was taken."""
        return read_json(self._path("point"))

    def before(self):
        """Return how packages, marks and kernel stood before."""
        found = read_json(self._path("before"))
        if found is None:
            raise PatchError(
                "The old packages were to be put back, but this host has no rollback point in %s. Use the rollback kit "
                "or another provider's point." % self.folder
            )
        return found

    def marks(self):
        before = self.before()
        return Marks(frozenset(before["auto"]), frozenset(before["held"]))

    def remember(self, transitions):
        """Write down what the transaction is about to do; what it adds is taken away by a restore."""
        added = {(one["name"], one["arch"]): one for one in self.planned()}
        added.update({(one["name"], one["arch"]): one for one in reported(transitions)})
        write_json(self._path("transaction"), sorted(added.values(), key=lambda one: (one["name"], one["arch"])))

    def planned(self):
        """Return the transitions that were written down, as reports hold them."""
        return read_json(self._path("transaction")) or []

    def work(self, installed, is_kernel):
        """Return (back, remove): the files to put back and the packages to take away, given what is installed now."""
        now = {key(package): package.version for package in installed}
        before = self.before()["packages"]
        back = [
            Secured(**{name: one[name] for name in Secured._fields})
            for one in (self.report() or {"items": []})["items"]
            if now.get("%s:%s" % (one["name"], one["arch"])) != one["version"] and not is_kernel(one["name"])
        ]
        remove = [
            "%s:%s" % (one["name"], one["arch"])
            for one in self.planned()
            if not one["from"] and one["to"] and not is_kernel(one["name"])
        ]
        return back, sorted(name for name in remove if name in now and name not in before)

    def lost(self, installed):
        """Name packages that changed and whose old files the point has not."""
        now = {key(package): package.version for package in installed}
        missing = (self.report() or {"missing": []})["missing"]
        return sorted(
            "%s:%s" % (one["name"], one["arch"])
            for one in missing
            if now.get("%s:%s" % (one["name"], one["arch"])) != one["version"]
        )

    def check_files(self, back):
        """Raise where a secured file is not what it was."""
        wrong = [one.filename for one in back if sha256_of(os.path.join(self.folder, one.filename)) != one.sha256]
        if wrong:
            raise PatchError(
                "The old packages were to be put back, but these files in %s are damaged: %s. Use the rollback kit or "
                "another provider's point." % (self.folder, ", ".join(wrong))
            )

    def drop(self):
        """Remove the point; return the bytes that became free."""
        freed = size_of(self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)
        return freed

    def _path(self, name):
        return os.path.join(self.folder, name + ".json")


def _covered(report):
    return {(one["name"], one["arch"], one["version"]) for one in [*report["items"], *report["missing"]]}
