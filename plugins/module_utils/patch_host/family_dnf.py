"""The dnf family (dnf 4: Red Hat Enterprise Linux 8 to 10 and its relatives), by dnf's and rpm's command lines."""

import ast
import binascii
import os
import shlex
import tempfile

from ansible.module_utils.patch_host import rpm_host
from ansible.module_utils.patch_host.dnf_holds import read_holds
from ansible.module_utils.patch_host.dnf_output import read_advisories, read_transaction
from ansible.module_utils.patch_host.errors import PatchError
from ansible.module_utils.patch_host.model import Simulation
from ansible.module_utils.patch_host.rpm import RpmFamily, describe_candidate, keep_file
from ansible.module_utils.patch_host.rpm_database import last_words, newest
from ansible.module_utils.patch_host.rpm_repodata import Offer
from ansible.module_utils.patch_host.rpm_versions import split_version, version_text
from ansible.module_utils.patch_host.state import os_release

_READING = 600
# dnf prints dates in local time.
_ENVIRONMENT = {"TZ": "UTC"}
_FIELDS = ("name", "arch", "epoch", "version", "release", "repoid", "downloadsize", "location", "chksum")
# The lock's files and nothing else; old kernels are never removed to make room.
_FILES_ONLY = (
    "--disablerepo=*",
    "--setopt=installonly_limit=0",
    "--setopt=clean_requirements_on_remove=False",
    "--setopt=exit_on_lock=True",
)
_TEST = "--setopt=tsflags=test"
# Held packages are shown, too; what a single repository excludes is not on offer.
_EVERYTHING = ("--disableplugin=versionlock", "--disableexcludes=main")
_NOTHING = Simulation([], [])


class FamilyDnf(RpmFamily):
    """dnf 4. Reasons (`dnf mark`) and history stay right, since every change is one of dnf's own transactions."""

    name = "dnf"
    rival_units = (
        "dnf-automatic.timer",
        "dnf-automatic.service",
        "dnf-automatic-install.timer",
        "dnf-automatic-install.service",
        "dnf-automatic-download.timer",
        "dnf-automatic-download.service",
        "packagekit.service",
        "packagekit-offline-update.service",
    )
    program = "/usr/bin/dnf"
    caches = ("/var/cache/dnf", "/var/cache/PackageKit")
    pid_files = ("/var/lib/dnf/rpmdb_lock.pid", "/var/cache/dnf/metadata_lock.pid", "/var/cache/dnf/download_lock.pid")
    configuration = "/etc/dnf/dnf.conf"
    versionlock = "/etc/dnf/plugins/versionlock.conf"

    def __init__(self, shell):
        super().__init__(shell)
        self._reasons = None
        self._known_advisories = None
        if os.path.basename(os.path.realpath(self.program)) == "dnf5":
            raise PatchError(
                "This host has dnf 5, and the family dnf is for dnf 4: its shell, which restores, is gone in dnf 5. "
                "Leave the host out."
            )

    @classmethod
    def detect(cls, shell):
        words = set((os_release().get("ID", "") + " " + os_release().get("ID_LIKE", "")).split())
        return shell.has("dnf") and bool(words & {"fedora", "rhel", "centos"})

    def refresh(self):
        self._wait_for_lock()
        self._known_advisories = None
        self._read(["makecache", "--refresh"], "the repositories' indexes were to be read anew")

    def candidates(self, installed):
        before = {_key(package): package.version for package in installed}  # of several kernels the newest comes last
        holds = self._held()
        advisories = self._advisories()
        return [
            describe_candidate(
                offer,
                before.get(_key(offer), ""),
                advisories.get((offer.name, offer.arch), ()),
                holds.hold(offer.name, offer.arch, offer.version)
                or holds.hold(offer.name, offer.arch, before.get(_key(offer), "")),
            )
            for offer in self._query(["--upgrades", "--latest-limit=1"])
        ]

    def describe(self, items):
        if not items:
            return []
        locked = {(item.name, item.arch, item.version): item for item in items}
        advisories = self._advisories()
        told = {}
        for offer in self._query([_nevra(item) for item in items]):
            item = locked.get((offer.name, offer.arch, offer.version))
            # The same version may come from several repositories: the lock's own file goes first.
            if item and (item not in told or offer.sha256 == item.sha256):
                about = advisories.get((offer.name, offer.arch), ())
                told[item] = describe_candidate(offer, item.from_version, about, False)
        return self._with_digests(told)

    def resolve(self, upgrades):
        return self._predict(["--assumeno", "--best", "upgrade", *map(_nevra, upgrades)]) if upgrades else _NOTHING

    def download(self, items, folder):
        self._wait_for_lock()
        present = newest(self._rows())
        again = [item for item in items if present.get(_key(item)) == item.version]
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as fetched:
            self._fetch("install", [item for item in items if item not in again], fetched)
            self._fetch("reinstall", again, fetched)
            found = {(row.key, row.version): path for path, row in self._files([fetched]).items()}
            for item in items:
                path = found.get((_key(item), item.version))
                if path:
                    keep_file(path, folder, item.filename or os.path.basename(path))
        return [item for item in items if (_key(item), item.version) not in found]

    def install(self, upgrades, available, folder, log):
        if not upgrades:
            return
        self._wait_for_lock()
        argv = ["dnf", "-y", *_FILES_ONLY, "--best", "upgrade", *_paths(upgrades, available, folder)]
        self._reasons = None
        done = rpm_host.run_logged(self.shell, argv, log)
        if done.rc != 0:
            raise PatchError("dnf was to install the lock, but failed and said: %s. See %s." % (last_words(done), log))
        self._check_scriptlets(done)

    def simulate_restore(self, back, remove, folder):
        rows = self._rows()
        files, twice, gone = self._left_to_restore(back, remove, rows)
        script = self._restore_script([one for one in files if one not in twice], gone, folder)
        predicted = self._predict(["-y", _TEST, *_FILES_ONLY, "shell"], script) if script else _NOTHING
        return self._with_repairs(predicted, twice, rows)

    def restore(self, back, remove, folder, log):
        self._wait_for_lock()
        files, twice, gone = self._left_to_restore(back, remove, self._rows())
        script = self._restore_script([one for one in files if one not in twice], gone, folder)
        if not (script or twice):
            return
        self._reasons = None
        if twice:
            # dnf cannot put an old version back over two; rpm can. Dependencies are judged by what follows.
            argv = ["rpm", "-U", "--oldpackage", "--replacepkgs", "--nodeps", *_paths(twice, [], folder)]
            done = rpm_host.run_logged(self.shell, argv, log)
        if script:
            # Its exit code says nothing: dnf's shell ends well whatever became of the transaction.
            done = rpm_host.run_logged(self.shell, ["dnf", "-y", *_FILES_ONLY, "shell"], log, stdin=script)
        self._check_restored(back, remove, done)

    def reboot_reasons(self):
        done = self.shell.run(["dnf", "--disablerepo=*", "needs-restarting", "--reboothint"], timeout=_READING)
        if done.rc == 0:
            return self._updated_since_boot([])
        names = [line.strip()[2:] for line in done.out.splitlines() if line.strip().startswith("* ")]
        # Exit code 1 without names: the plugin is not installed.
        return self._updated_since_boot(names or rpm_host.replaced_since_boot(self._rows()))

    def _offered(self, items):
        return {(offer.name, offer.arch, offer.version) for offer in self._query([_nevra(item) for item in items])}

    def _resolve_with(self, upgrades, needed):
        return self._predict(["--assumeno", "--best", "install", *map(_nevra, [*upgrades, *needed])])

    def _simulate_files(self, upgrades, available, folder):
        return self._predict(["-y", _TEST, *_FILES_ONLY, "--best", "upgrade", *_paths(upgrades, available, folder)])

    def _query(self, what):
        form = "\\t".join("%%{%s}" % field for field in _FIELDS)
        argv = [*_EVERYTHING, "repoquery", "--qf", form, *what]
        done = self._read(argv, "the repositories were asked what they offer")
        return [offer for offer in map(_offer, done.out.splitlines()) if offer is not None]

    def _advisories(self):
        """Return {(name, arch): [Advisory]} of what is newer than installed."""
        if self._known_advisories is None:
            asked = "the repositories' advisories were asked for"
            listed = self._read([*_EVERYTHING, "updateinfo", "list"], asked).out
            told = self._read([*_EVERYTHING, "updateinfo", "info"], asked).out if listed.strip() else ""
            self._known_advisories = read_advisories(listed, told)
        return self._known_advisories

    def _predict(self, arguments, stdin=""):
        self._wait_for_lock()
        done = self.shell.run(["dnf", *arguments], timeout=_READING, environment=_ENVIRONMENT, stdin=stdin)
        changes, problems = read_transaction(done.out, done.err)
        return Simulation(self._transitions(changes), problems)

    def _restore_script(self, files, gone, folder):
        """Return the lines for dnf's shell: all files in one line, as dnf takes local files only once."""
        lines = []
        if files:
            lines.append(" ".join(map(shlex.quote, ["install", *_paths(files, [], folder)])))
        if gone:
            lines.append(" ".join(["remove", *map(_nevra, gone)]))
        return "\n".join([*lines, "run", ""]) if lines else ""

    def _fetch_installed(self, packages, folder):
        self._fetch("reinstall", packages, folder)

    def _fetch(self, verb, packages, folder):
        if not packages:
            return
        # Fetching is no installing: that a package is on hold is said where the transaction is judged.
        options = ["-y", *_EVERYTHING, "--setopt=strict=0", verb, "--downloadonly", "--downloaddir", folder]
        done = self.shell.run(["dnf", *options, *map(_nevra, packages)], timeout=3600)
        said = done.out + done.err
        # A file that is not there is pushed; one that was tampered with must not be.
        if done.rc != 0 and ("GPG" in said or "Public key" in said or "checksum" in said.lower()):
            said = "; ".join(read_transaction(done.out, done.err)[1]) or last_words(done)
            raise PatchError("dnf was to download %d packages, but said: %s" % (len(packages), said))

    def _read(self, arguments, asked):
        done = self.shell.run(["dnf", "-q", *arguments], timeout=_READING, environment=_ENVIRONMENT)
        if done.rc != 0:
            raise PatchError("%s, but dnf said: %s" % (asked.capitalize(), last_words(done)))
        return done

    def _auto(self):
        # Each start of dnf takes a good part of a second: it is asked again only after a transaction of ours.
        if self._reasons is None:
            argv = ["--disablerepo=*", *_EVERYTHING, "repoquery", "--installed", "--qf", "%{name}:%{arch}\\t%{reason}"]
            done = self._read(argv, "the packages' reasons were asked for")
            lines = [line.split("\t") for line in done.out.splitlines()]
            self._reasons = {fields[0] for fields in lines if len(fields) == 2 and "dependency" in fields[1]}
        return self._reasons

    def _held(self):
        return read_holds(self.configuration, self.versionlock)

    def _set_auto(self, packages, auto):
        self._change("mark", "remove" if auto else "install", ["%s.%s" % (one.name, one.arch) for one in packages])

    def _set_held(self, packages, held):
        names = [_nevra(one) for one in packages] if held else [one.name for one in packages]
        self._change("versionlock", "add" if held else "delete", names)

    def _change(self, command, verb, names):
        if not names:
            return
        self._wait_for_lock()
        self._reasons = None
        done = self.shell.run(["dnf", "-q", "-y", "--disablerepo=*", command, verb, *names])
        if done.rc != 0:
            raise PatchError(
                "dnf %s %s was to be done for %s, but dnf said: %s. Do it by hand."
                % (command, verb, ", ".join(names), last_words(done))
            )


def _offer(line):
    fields = line.split("\t")
    if len(fields) != len(_FIELDS):
        return None
    name, arch, epoch, version, release, origin, size, location, digest = fields
    size = int(size) if size.isdigit() else 0
    full = version_text(epoch, version, release)
    return Offer(name, arch, full, origin, size, os.path.basename(location), _sha256(digest))


def _sha256(text):
    """Read a checksum as dnf shows it, a Python tuple (type, bytes); "" for any other type."""
    try:
        digest = ast.literal_eval(text)[1]
    except (ValueError, SyntaxError, TypeError, IndexError):
        return ""
    return binascii.hexlify(digest).decode() if len(digest) == 32 else ""


def _nevra(one):
    return "%s-%s:%s-%s.%s" % ((one.name, *split_version(one.version), one.arch))


def _paths(upgrades, available, folder):
    return [os.path.join(folder, one.filename) for one in [*upgrades, *available]]


def _key(one):
    return "%s:%s" % (one.name, one.arch)
