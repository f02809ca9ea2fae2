"""The zypper family (SUSE Linux Enterprise, openSUSE), by zypper's and rpm's command lines."""

import contextlib
import os
import re
import tempfile

from ansible.module_utils.patch_host import rpm_host, zypper_output
from ansible.module_utils.patch_host.errors import PatchError
from ansible.module_utils.patch_host.files import make_folder
from ansible.module_utils.patch_host.model import Simulation
from ansible.module_utils.patch_host.rpm import RpmFamily, describe_candidate, keep_file
from ansible.module_utils.patch_host.rpm_database import last_words
from ansible.module_utils.patch_host.rpm_repodata import Offer, find_offers
from ansible.module_utils.patch_host.state import os_release
from ansible.module_utils.patch_host.zypper_marks import capability, read_auto, read_locks, write_auto

_READING = 600
# zypper waits so many seconds for whoever uses the package system.
_ENVIRONMENT = {"TZ": "UTC", "ZYPP_LOCK_TIMEOUT": "300"}
_ZYPPER = ("zypper", "--non-interactive", "--quiet", "--xmlout")
# Information, no failure: patches, security patches, a reboot or a restart of zypper are needed; nothing was found.
_WELL = (0, 100, 101, 102, 103, 104)
_SCRIPTLET_FAILED = 107
_REPOSITORY = "[patch-orchestrator]\nname=patch-orchestrator\nbaseurl=dir:%s\ntype=plaindir\nenabled=1\ngpgcheck=0\n"


class FamilyZypper(RpmFamily):
    """zypper. Its solver works on a repository that consists of the lock's files alone."""

    name = "zypper"
    rival_units = (
        "packagekit.service",
        "packagekit-background.timer",
        "packagekit-background.service",
        "packagekit-offline-update.service",
        "transactional-update.timer",
        "transactional-update.service",
        "os-update.timer",
        "os-update.service",
        "yast2-online-update.service",
    )
    caches = ("/var/cache/zypp/packages", "/var/cache/PackageKit")
    pid_files = ("/run/zypp.pid",)
    pid_owners = ("zypp", "packagekit", "yast", "y2base", "transactional-update")
    indexes = "/var/cache/zypp/raw"
    locks = "/etc/zypp/locks"
    auto_installed = "/var/lib/zypp/AutoInstalled"
    configuration = "/etc/zypp/zypp.conf"
    history = "/var/log/zypp/history"

    def __init__(self, shell):
        super().__init__(shell)
        self._known_advisories = None

    @classmethod
    def detect(cls, shell):
        words = set((os_release().get("ID", "") + " " + os_release().get("ID_LIKE", "")).split())
        return shell.has("zypper") and bool(words & {"suse", "opensuse", "sles"})

    def refresh(self):
        self._known_advisories = None
        self._read(["refresh"], "the repositories' indexes were to be read anew")

    def candidates(self, installed):
        before = {_key(package): package.version for package in installed}  # of several kernels the newest comes last
        holds = self._held()
        # Without --all locked packages are left out; with it everything is in that cannot be installed.
        offered = self._updates([]) + [one for one in self._updates(["--all"]) if holds.hold(one.name)]
        advisories = self._advisories()
        told = {}
        for one in self._with_details(offered):
            held = holds.hold(one.name)
            told.setdefault(
                _key(one), describe_candidate(one, before.get(_key(one), ""), _about(advisories, one), held)
            )
        return list(told.values())

    def describe(self, items):
        if not items:
            return []
        locked = {(item.name, item.arch, item.version): item for item in items}
        offered = [one for one in self._search(items) if (one.name, one.arch, one.version) in locked]
        advisories = self._advisories()
        told = {}
        for one in self._with_details(offered):
            item = locked[one.name, one.arch, one.version]
            # The same version may come from several repositories: the lock's own file goes first.
            if item not in told or one.sha256 == item.sha256:
                told[item] = describe_candidate(one, item.from_version, _about(advisories, one), False)
        return self._with_digests(told)

    def resolve(self, upgrades):
        if not upgrades:
            return Simulation([], [])
        return self._predict(["--no-refresh", "install", "--dry-run", *map(_capability, upgrades)])

    def download(self, items, folder):
        if not items:
            return []
        make_folder(folder)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as fetched:
            found = self._fetch(items, fetched)
            for item in items:
                path = found.get((item.name, item.arch, item.version))
                if path:
                    keep_file(path, folder, item.filename or os.path.basename(path))
        return [item for item in items if (item.name, item.arch, item.version) not in found]

    def install(self, upgrades, available, folder, log):
        if not upgrades:
            return
        with self._alone([*upgrades, *available], folder) as options:
            argv = [*options, "install", "--auto-agree-with-licenses", *map(_capability, upgrades)]
            done, failed = self._act(argv, log)
        if done.rc not in (*_WELL, _SCRIPTLET_FAILED):
            problems = zypper_output.read_transaction(done.out)[1]
            said = "; ".join(problems) or last_words(done)
            raise PatchError("zypper was to install the lock, but failed and said: %s. See %s." % (said, log))
        self._check_scriptlets(done._replace(out=done.out + failed))

    def simulate_restore(self, back, remove, folder):
        rows = self._rows()
        files, twice, gone = self._left_to_restore(back, remove, rows)
        if not (files or gone):
            return Simulation([], [])
        with self._alone(files, folder) as options:
            predicted = self._predict([*options, "install", "--dry-run", *_restoring(files, twice, gone)])
        return self._with_repairs(predicted, twice, rows)

    def restore(self, back, remove, folder, log):
        files, twice, gone = self._left_to_restore(back, remove, self._rows())
        if not (files or gone):
            return
        with self._alone(files, folder) as options:
            done, _failed = self._act([*options, "install", *_restoring(files, twice, gone)], log)
        self._check_restored(back, remove, done)

    def is_kernel(self, name):
        return super().is_kernel(name) and self._keeps_kernels()

    def reboot_reasons(self):
        done = self.shell.run(["zypper", "--non-interactive", "needs-rebooting"], timeout=_READING)
        reasons = self._updated_since_boot(rpm_host.replaced_since_boot(self._rows()))
        if done.rc == 102 and not reasons:
            return ["zypper needs-rebooting: core libraries or services have been updated"]
        return reasons

    def _offered(self, items):
        return {(one.name, one.arch, one.version) for one in self._search(items)}

    def _resolve_with(self, upgrades, needed):
        return self.resolve([*upgrades, *needed])

    def _simulate_files(self, upgrades, available, folder):
        with self._alone([*upgrades, *available], folder) as options:
            return self._predict([*options, "install", "--dry-run", *map(_capability, upgrades)])

    def _search(self, items):
        """List what repositories offer of packages with the items' names, in all versions."""
        asked = "the repositories were asked what they offer"
        names = sorted({item.name for item in items})
        search = ["search", "--details", "--match-exact", "--type", "package"]
        found = zypper_output.read_search(self._read(["--no-refresh", *search, *names], asked).out)
        aliases = dict(zypper_output.read_repositories(self._read(["--no-refresh", "repos"], asked).out))
        return [one._replace(origin=aliases.get(one.origin, one.origin)) for one in found]

    def _updates(self, options):
        done = self._read(
            ["--no-refresh", "list-updates", "--type", "package", *options],
            "the repositories were asked what they offer",
        )
        return zypper_output.read_updates(done.out)

    def _with_details(self, offered):
        """Return offers with file name, size and sha256, from the repositories' indexes; "" and 0 where unknown."""
        names = {}
        for one in offered:
            names.setdefault(one.origin, set()).add(one.name)
        known = {}
        for origin, wanted in names.items():
            folder = os.path.join(self.indexes, re.sub(r"^\.", "_", origin.replace("/", "_")))
            for offer in find_offers(self.shell, folder, origin, wanted):
                known[offer.origin, offer.name, offer.arch, offer.version] = offer
        return [
            known.get(
                (one.origin, one.name, one.arch, one.version),
                Offer(one.name, one.arch, one.version, one.origin, 0, "", ""),
            )
            for one in offered
        ]

    def _advisories(self):
        """Return {name: [Advisory]} of the patches that this host needs."""
        if self._known_advisories is None:
            asked = "the repositories' patches were asked for"
            patches = zypper_output.read_patches(self._read(["--no-refresh", "list-patches"], asked).out)
            told = self._read(["--no-refresh", "patch-info", *sorted(patches)], asked).out if patches else ""
            self._known_advisories = {}
            for one in zypper_output.read_advisories(patches, told):
                self._known_advisories.setdefault(one.name, []).append(one)
        return self._known_advisories

    def _predict(self, arguments):
        done = self._run(arguments)
        changes, problems = zypper_output.read_transaction(done.out)
        if done.rc not in _WELL and not problems:
            problems = [last_words(done)]
        return Simulation(self._transitions(changes), problems)

    @contextlib.contextmanager
    def _alone(self, items, folder):
        """Give zypper a repository with just these files, and no other; yields its options."""
        with tempfile.TemporaryDirectory(prefix=".zypper-", dir=folder) as scratch:
            for name in ("files", "repositories", "cache"):
                os.mkdir(os.path.join(scratch, name))
            for item in items:
                # libzypp does not follow symbolic links.
                os.link(os.path.join(folder, item.filename), os.path.join(scratch, "files", item.filename))
            with open(os.path.join(scratch, "repositories", "lock.repo"), "w", encoding="ascii") as file:
                file.write(_REPOSITORY % os.path.join(scratch, "files"))
            # Each file's sha256 is the lock's; the temporary repository itself is signed by nobody.
            yield [
                "--no-gpg-checks",
                "--reposd-dir",
                os.path.join(scratch, "repositories"),
                "--cache-dir",
                os.path.join(scratch, "cache"),
            ]

    def _act(self, arguments, log):
        """Change packages. Return what zypper said, and which scriptlets its history says failed."""
        start = os.path.getsize(self.history) if os.path.exists(self.history) else 0
        done = rpm_host.run_logged(self.shell, [*_ZYPPER, *arguments], log, environment=_ENVIRONMENT)
        failed = ""
        if os.path.exists(self.history):
            with open(self.history, "rb") as file:
                file.seek(start)
                failed = "\n".join(rpm_host.failed_scriptlets(file.read().decode("utf-8", "replace")))
        return done, failed

    def _fetch_installed(self, packages, folder):
        for (name, arch, version), path in self._fetch(packages, folder).items():
            keep_file(path, folder, "%s-%s.%s.rpm" % (name, version.partition(":")[2] or version, arch))

    def _fetch(self, packages, folder):
        done = self._run(
            ["--no-refresh", "--pkg-cache-dir", folder, "download", *map(_capability, packages)], timeout=3600
        )
        problems = zypper_output.read_transaction(done.out)[1]
        # A file that is not there is pushed; one that was tampered with must not be.
        if any(re.search(r"signature|checksum|digest|GPG", problem, re.IGNORECASE) for problem in problems):
            raise PatchError("zypper was to download %d packages, but said: %s" % (len(packages), "; ".join(problems)))
        return zypper_output.read_downloads(done.out)

    def _read(self, arguments, asked):
        done = self._run(arguments)
        if done.rc not in _WELL:
            raise PatchError("%s, but zypper said: %s" % (asked.capitalize(), last_words(done)))
        return done

    def _run(self, arguments, timeout=_READING):
        return self.shell.run([*_ZYPPER, *arguments], timeout=timeout, environment=_ENVIRONMENT)

    def _keeps_kernels(self):
        try:
            with open(self.configuration, encoding="utf-8") as file:
                return bool(re.search(r"^multiversion *=.*(multiversion\(kernel\)|kernel)", file.read(), re.MULTILINE))
        except FileNotFoundError:
            return False

    def _auto(self):
        return read_auto(self.auto_installed)

    def _held(self):
        return read_locks(self.locks)

    def _set_auto(self, packages, auto):
        if packages:
            names = {package.name for package in packages}
            known = read_auto(self.auto_installed)
            write_auto(self.auto_installed, known | names if auto else known - names)

    def _set_held(self, packages, held):
        locks = self._held()
        names = sorted({one.name for one in packages if held or locks.exactly(one.name)})
        if names:
            self._read(["addlock" if held else "removelock", *names], "the locks were to be set as before")


def _restoring(files, twice, gone):
    # Where two versions of a package are installed, the old one's files have been overwritten: it is installed again.
    options = ["--oldpackage", *(["--force"] if twice else [])]
    return [*options, *map(_capability, files), *("!" + _capability(one) for one in gone)]


def _about(advisories, offer):
    return [one for one in advisories.get(offer.name, ()) if one.arch in ("", offer.arch)]


def _capability(one):
    return capability(one.name, one.arch, one.version)


def _key(one):
    return "%s:%s" % (one.name, one.arch)
