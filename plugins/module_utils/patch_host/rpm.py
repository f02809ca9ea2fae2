"""What the dnf and zypper families have in common: the rpm database, secured files, kernels, health."""

import abc
import os
import re
import shutil
import tempfile

from ansible.module_utils.patch_host import rpm_host
from ansible.module_utils.patch_host.errors import PatchError
from ansible.module_utils.patch_host.files import make_folder, sha256_of
from ansible.module_utils.patch_host.model import Family, Missing, Package, Secured, Simulation, Transition
from ansible.module_utils.patch_host.rpm_database import (
    duplicates,
    file_name,
    last_words,
    newest,
    packages_in,
    read_files,
    rows,
)
from ansible.module_utils.patch_host.rpm_versions import compare_versions

CLASSES = ("unknown", "enhancement", "bugfix", "security")
SEVERITIES = ("", "low", "moderate", "important", "critical")
_REASON = (
    "neither the package cache nor a repository has the file any more; rpm cannot rebuild it from what is installed"
)
_OTHER_BUILD = "what the repository has under this version is another build than the one that is installed"


class RpmFamily(Family):
    """A family on the rpm database. Its subclasses add the package manager."""

    caches = ()  # folders below which the package manager keeps files
    pid_files = ()  # files that hold the number of the process that uses the package manager
    pid_owners = ()  # what such a process's command line says
    reboot_notes = ("/run/reboot-needed", "/run/reboot-required")  # files by which packages ask for a reboot

    def architecture(self):
        return self.shell.run(["rpm", "--eval", "%{_host_cpu}"], timeout=30).out.strip()

    def installed(self):
        auto, held = self._auto(), self._held()
        return [
            Package(
                row.name,
                row.arch,
                row.version,
                auto=row.key in auto or row.name in auto,
                held=held.hold(row.name, row.arch, row.version),
            )
            for row in self._rows()
        ]

    def compare(self, left, right):
        return compare_versions(left, right)

    def simulate(self, upgrades, available, folder):
        if not upgrades:
            return Simulation([], [])
        if folder:
            return self._simulate_files(upgrades, available, folder)
        offered = self._offered([*upgrades, *available])
        lost = [item for item in [*upgrades, *available] if (item.name, item.arch, item.version) not in offered]
        wanted = [item for item in upgrades if item not in lost]
        found = self.resolve(wanted)
        # New dependencies come in their newest version. Those that are needed are asked for in the locked one.
        taken = {(one.name, one.arch): one.new for one in found.transitions}
        needed = [item for item in available if (item.name, item.arch) in taken and item not in lost]
        if any(taken[item.name, item.arch] != item.version for item in needed):
            found = self._resolve_with(wanted, needed)
        return self._with_lost(found, upgrades, available, lost) if lost else found

    def secure_old(self, packages, folder):
        make_folder(folder)
        digests = {(row.key, row.version): row.digest for row in self._rows()}
        wanted = {
            package: digests[_key(package), package.version]
            for package in packages
            if (_key(package), package.version) in digests
        }
        secured = self._take_over(wanted, [folder, *self.caches], folder, "cache")
        left = [package for package in wanted if package not in secured]
        others = set()
        if left:
            with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as fetched:
                self._fetch_installed(left, fetched)
                found = self._take_over({one: wanted[one] for one in left}, [fetched], folder, "repository")
                others = {row.key for row in self._files([fetched]).values()} - {_key(one) for one in found}
                secured.update(found)
        missing = [
            Missing(one.name, one.arch, one.version, _OTHER_BUILD if _key(one) in others else _REASON)
            for one in packages
            if one not in secured
        ]
        return [secured[one] for one in packages if one in secured], missing

    def give_marks(self, marks, names):
        chosen = [package for package in self.installed() if _key(package) in names]
        wanted = {_key(package): (_key(package) in marks.auto, _key(package) in marks.held) for package in chosen}
        self._set_auto([one for one in chosen if wanted[_key(one)][0] and not one.auto], True)
        self._set_auto([one for one in chosen if one.auto and not wanted[_key(one)][0]], False)
        self._set_held([one for one in chosen if wanted[_key(one)][1] and not one.held], True)
        self._set_held([one for one in chosen if one.held and not wanted[_key(one)][1]], False)

    def lock_holders(self):
        holder = self._lock_holder()
        return [holder] if holder else []

    def check_health(self):
        problems = []
        done = self.shell.run(["rpm", "--verifydb"], timeout=300)
        if done.rc != 0:
            problems.append("rpm --verifydb: %s" % last_words(done))
        for key in sorted(duplicates(self._rows(), self.is_kernel)):
            problems.append("%s is installed in two versions: a transaction broke off" % key)
        return problems + self.lock_holders()

    def is_kernel(self, name):
        return rpm_host.is_kernel_name(name)

    def newest_kernel(self):
        return rpm_host.newest_kernel()

    def _rows(self):
        return rows(self.shell)

    def _lock_holder(self):
        return rpm_host.lock_holder(self.shell, self.pid_files, self.pid_owners)

    def _wait_for_lock(self):
        rpm_host.wait_until_free(self._lock_holder)

    def _files(self, folders):
        return read_files(self.shell, packages_in(folders))

    def _take_over(self, wanted, folders, folder, source):
        """Copy from `folders` the files that are the very builds `wanted` ({Package: digest}) into `folder`."""
        names = {file_name(one.name, one.arch, one.version) for one in wanted}
        paths = [path for path in packages_in(folders) if os.path.basename(path) in names]
        by_digest = {}
        for path, row in read_files(self.shell, paths).items():
            by_digest.setdefault((row.key, row.version, row.digest), path)
        found = {}
        for one, digest in wanted.items():
            path = by_digest.get((_key(one), one.version, digest))
            if path:
                name = file_name(one.name, one.arch, one.version)
                found[one] = Secured(one.name, one.arch, one.version, name, keep_file(path, folder, name), source)
        return found

    def _transitions(self, changes):
        """Turn `changes` [(what, name, arch, version)] (what: new, gone) into transitions."""
        versions = newest(self._rows())
        told = []
        for what, name, arch, version in changes:
            old = versions.get("%s:%s" % (name, arch), "")
            told.append(Transition(name, arch, version, "") if what == "gone" else Transition(name, arch, old, version))
        return sorted(set(told))

    def _with_repairs(self, predicted, twice, rows):
        """Say of packages that are installed twice what is done to them: the old version is put back over both."""
        versions = newest(rows)
        repaired = [Transition(one.name, one.arch, versions[_key(one)], one.version) for one in twice]
        keys = {_key(one) for one in twice}
        others = [one for one in predicted.transitions if _key(one) not in keys]
        return Simulation(sorted(others + repaired), predicted.problems)

    def _with_lost(self, found, upgrades, available, lost):
        """Predict as if what no repository has any more were there: it will be pushed, and judged before patching."""
        problems = [text for text in found.problems if not any(_speaks_of(text, item.name) for item in lost)]
        changes = {(one.name, one.arch): one for one in found.transitions}
        certain = [item for item in upgrades if item in lost or (found.problems and not problems)]
        certain += [item for item in available if any(_speaks_of(text, item.name) for text in found.problems)]
        certain += [item for item in lost if (item.name, item.arch) in changes]
        for one in self._transitions([("new", item.name, item.arch, item.version) for item in certain]):
            changes[one.name, one.arch] = one
        return Simulation(sorted(changes.values()), problems)

    def _with_digests(self, told):
        """Fill in file name, size and sha256 where the index does not say them, by fetching the files.

        `told` is {Item: dictionary of the scan report}; its dictionaries are returned.
        """
        unknown = [item for item, one in told.items() if not one["sha256"]]
        if unknown:
            with tempfile.TemporaryDirectory(prefix="patch-orchestrator-") as folder:
                named = [item._replace(filename=file_name(item.name, item.arch, item.version)) for item in unknown]
                lost = self.download(named, folder)
                for item, known in zip(unknown, named):
                    if known not in lost:
                        path = os.path.join(folder, known.filename)
                        told[item].update(sha256=sha256_of(path), size=os.path.getsize(path), filename=known.filename)
        return list(told.values())

    def _updated_since_boot(self, names):
        """Return the sentences for `reboot_reasons`."""
        reasons = ["%s was updated since the boot" % name for name in sorted(set(names))]
        return reasons or ["%s is there" % path for path in self.reboot_notes if os.path.exists(path)][:1]

    def _check_scriptlets(self, done):
        """Raise for a scriptlet that failed: rpm goes on after most of them, and says success."""
        failed = rpm_host.failed_scriptlets(done.out)
        if failed:
            raise PatchError(
                "The packages were installed, but not all of it worked: %s. Look at the log, or restore."
                % "; ".join(failed)
            )

    def _check_restored(self, back, remove, done):
        """Raise unless the database now shows what was to be."""
        rows = self._rows()
        versions = {}
        for row in rows:
            versions.setdefault(row.key, set()).add(row.version)
        wrong = ["%s is not %s" % (_key(one), one.version) for one in back if versions.get(_key(one)) != {one.version}]
        wrong += ["%s is still there" % key for key in remove if key in versions]
        if wrong:
            raise PatchError(
                "%s was to put %d packages back, but %s. It said: %s"
                % (self.name, len(back), ", ".join(wrong), last_words(done))
            )

    def _left_to_restore(self, back, remove, rows):
        """Return (files to put back, those among them that are installed twice, rows to remove)."""
        versions = {}
        for row in rows:
            versions.setdefault(row.key, set()).add(row.version)
        files = [one for one in back if versions.get(_key(one)) != {one.version}]
        twice = [one for one in files if len(versions.get(_key(one), ())) > 1]
        return files, twice, [row for row in rows if row.key in remove]

    # What the package manager adds.

    @abc.abstractmethod
    def _offered(self, items):
        """Return {(name, arch, version)} of those items that a repository offers."""

    @abc.abstractmethod
    def _resolve_with(self, upgrades, needed):
        """Like `resolve`, with these new dependencies in exactly their versions."""

    @abc.abstractmethod
    def _simulate_files(self, upgrades, available, folder):
        """Do what `simulate` does where the files are there."""

    @abc.abstractmethod
    def _auto(self):
        """Return the packages, by name or by name:arch, that came in as dependencies."""

    @abc.abstractmethod
    def _held(self):
        """Return an object with hold(name, arch, version)."""

    @abc.abstractmethod
    def _set_auto(self, packages, auto):
        """Set the auto marks of these packages as they are to be."""

    @abc.abstractmethod
    def _set_held(self, packages, held):
        """Set the holds of these packages as they are to be."""

    @abc.abstractmethod
    def _fetch_installed(self, packages, folder):
        """Fetch the files of installed packages into `folder`, those that a repository has; signatures are checked."""


def keep_file(path, folder, name):
    """Put a copy of the file into `folder` as `name` unless it is there. Return its sha256."""
    target = os.path.join(folder, name)
    if os.path.abspath(path) != os.path.abspath(target):
        shutil.copyfile(path, target + ".new")
        os.replace(target + ".new", target)
    return sha256_of(target)


def describe_candidate(offer, before, advisories, held):
    """Return the `scan` report's dictionary of an offered file that follows the version `before` ("" = none)."""
    about = [
        one
        for one in advisories
        if compare_versions(one.version, offer.version) <= 0
        and (not before or compare_versions(one.version, before) > 0)
    ]
    published = [one.published for one in about if one.version == offer.version] or [one.published for one in about]
    kinds = [one.kind if one.kind in CLASSES else "unknown" for one in about]
    severities = [one.severity if one.severity in SEVERITIES else "" for one in about]
    return {
        "name": offer.name,
        "arch": offer.arch,
        "from_version": before,
        "version": offer.version,
        "classification": max(kinds, key=CLASSES.index, default="unknown"),
        "severity": max(severities, key=SEVERITIES.index, default=""),
        "advisories": sorted({one.id for one in about}),
        "origin": offer.origin,
        "sha256": offer.sha256,
        "filename": offer.filename,
        "size": offer.size,
        "published": max(published, default=0),
        "held": held,
    }


def _speaks_of(text, name):
    return bool(re.search(r"(?:^|\s)%s(?=$|[\s,]|-\d)" % re.escape(name), text))


def _key(package):
    return "%s:%s" % (package.name, package.arch)
