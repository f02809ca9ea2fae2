"""The package family of Debian and Ubuntu, by apt-get, apt-cache, apt-mark, dpkg-query and dpkg-deb."""

import contextlib
import errno
import fcntl
import os
import re
import shutil

from ansible.module_utils.patch_host.apt_offers import READING, Offers, argument, file_name, read
from ansible.module_utils.patch_host.apt_repository import PrivateRepository, index_stanza
from ansible.module_utils.patch_host.apt_text import last_words, parse_stanzas, parse_transitions
from ansible.module_utils.patch_host.debian_version import compare
from ansible.module_utils.patch_host.errors import PatchError
from ansible.module_utils.patch_host.files import FOLDER, make_folder, sha256_of
from ansible.module_utils.patch_host.model import Family, Item, Missing, Package, Secured, Simulation
from ansible.module_utils.patch_host.repack import Repacker

_LOCK_WAIT = 300
_CHANGING = [
    "-y",
    "-o",
    "DPkg::Lock::Timeout=%d" % _LOCK_WAIT,
    "-o",
    "Dpkg::Use-Pty=0",
    "-o",
    "Dpkg::Options::=--force-confdef",
    "-o",
    "Dpkg::Options::=--force-confold",
]
_KERNEL = re.compile(r"linux-(?:image|modules|modules-extra|headers|binary)-(?:unsigned-)?\d")


class FamilyApt(Family):
    """apt on this host; `home` is where its private indexes and its part of the packages live."""

    name = "apt"
    rival_units = (
        "apt-daily.timer",
        "apt-daily-upgrade.timer",
        "apt-daily.service",
        "apt-daily-upgrade.service",
        "unattended-upgrades.service",
        "packagekit.service",
    )

    def __init__(self, shell, home=FOLDER + "/apt", states="/var/lib/apt/extended_states"):
        super().__init__(shell)
        self._states = states
        self._home = home
        self._native = ""
        self._offers = Offers(shell, self.architecture)

    @classmethod
    def detect(cls, shell):
        return shell.has("apt-get") and os.path.exists("/etc/debian_version")

    def architecture(self):
        if not self._native:
            self._native = self._read(["dpkg", "--print-architecture"]).strip()
        return self._native

    def installed(self):
        form = "${db:Status-Abbrev}\t${Package}\t${Architecture}\t${Version}\n"
        auto = self._auto()
        found = []
        for line in self._read(["dpkg-query", "--show", "--showformat", form]).splitlines():
            status, name, arch, version = line.split("\t")
            # The second letter is the state: n not installed, c configuration files only; all else is on the disk.
            if status[1] not in "nc":
                found.append(Package(name, arch, version, (name, arch) in auto, status[0] == "h"))
        return found

    def compare(self, left, right):
        return compare(left, right)

    def refresh(self):
        # Without it apt is content with the old index of a repository that does not answer, and says nothing.
        strict = ["-o", "APT::Update::Error-Mode=any", "-o", "DPkg::Lock::Timeout=%d" % _LOCK_WAIT]
        done = self.shell.run(["apt-get", "-q", *strict, "update"], timeout=_LOCK_WAIT + READING)
        if done.rc != 0:
            raise PatchError(
                "apt-get update was to read the repositories, but said: %s. Check the sources and the way to them."
                % last_words(done.out + done.err)
            )

    def candidates(self, installed):
        return self._offers.candidates(installed)

    def describe(self, items):
        return self._offers.describe(items)

    def download(self, items, folder):
        return self._offers.download(items, folder)

    def resolve(self, upgrades):
        return self._simulate(["install", *("%s=%s" % (argument(item), item.version) for item in upgrades)], [])

    def simulate(self, upgrades, available, folder):
        if not upgrades:
            return Simulation([], [])
        repository = self._repository(upgrades, available, folder)
        return self._simulate(["upgrade", "--with-new-pkgs"], repository.options(), upgrades)

    def secure_old(self, packages, folder):
        make_folder(folder)
        secured, wanted = [], []
        for package in packages:
            source = self._from_cache(package, folder)
            if source:
                secured.append(_secured(package, folder, source))
            else:
                wanted.append(package)
        items = [_as_item(package) for package in wanted]
        left = {(item.name, item.arch) for item in self.download(items, folder)} if items else set()
        missing, repacker = [], Repacker(self.shell)
        for package in wanted:
            if (package.name, package.arch) not in left:
                secured.append(_secured(package, folder, "repository"))
                continue
            reason = repacker.repack(package, os.path.join(folder, file_name(package)))
            if reason:
                missing.append(Missing(package.name, package.arch, package.version, reason))
            else:
                secured.append(_secured(package, folder, "repacked"))
        return secured, missing

    def install(self, upgrades, available, folder, log):
        if self._interrupted():
            self.mend(log)
        repository = self._repository(upgrades, available, folder)
        self._change([*repository.options(), "upgrade", "--with-new-pkgs", "--no-remove"], log)

    def simulate_restore(self, back, remove, folder):
        if not back and not remove:
            return Simulation([], [])
        repository = self._old_repository(back, folder)
        return self._simulate(_restoring(back, remove), repository.options())

    def restore(self, back, remove, folder, log):
        if self._interrupted():
            # What fails to be configured in its new version is replaced by the old one in a moment.
            with contextlib.suppress(PatchError):
                self.mend(log)
        repository = self._old_repository(back, folder)
        self._change([*repository.options(), *_restoring(back, remove)], log)

    def mend(self, log):
        if self._interrupted() or self._read(["dpkg", "--audit"]).strip():
            self._run(["dpkg", "--force-confdef", "--force-confold", "--configure", "-a"], log)

    def give_marks(self, marks, names):
        now = {"%s:%s" % (package.name, package.arch): package for package in self.installed()}
        wanted = [(name, now[name]) for name in sorted(names) if name in now]
        orders = {
            "auto": [p for name, p in wanted if name in marks.auto and not p.auto],
            "manual": [p for name, p in wanted if name not in marks.auto and p.auto],
            "hold": [p for name, p in wanted if name in marks.held and not p.held],
            "unhold": [p for name, p in wanted if name not in marks.held and p.held],
        }
        for order, packages in orders.items():
            if packages:
                self._read(["apt-mark", order, *map(argument, packages)])

    def lock_holders(self):
        return ["%s is locked by a running package manager" % path for path in _locked()]

    def check_health(self):
        done = self.shell.run(["dpkg", "--audit"], timeout=READING)
        problems = []
        if done.out.strip() or done.rc != 0:
            problems.append("dpkg --audit: %s" % " ".join((done.out + done.err).split())[:500])
        if self._interrupted():
            problems.append("dpkg was interrupted (dpkg --configure -a mends it)")
        return problems + self.lock_holders()

    def is_kernel(self, name):
        return bool(_KERNEL.match(name))

    def newest_kernel(self):
        running = os.uname().release
        flavour = running.rpartition("-")[2]
        found = [name[len("vmlinuz-") :] for name in _listed("/boot") if name.startswith("vmlinuz-")]
        same = [release for release in found if release.rpartition("-")[2] == flavour] or found
        newest = ""
        for release in same:
            if not newest or self.compare(release, newest) > 0:
                newest = release
        return newest

    def reboot_reasons(self):
        if not os.path.exists("/run/reboot-required"):
            return []
        try:
            with open("/run/reboot-required.pkgs", encoding="utf-8") as file:
                return ["reboot-required: %s" % name for name in sorted(set(file.read().split()))] or [
                    "reboot-required"
                ]
        except FileNotFoundError:
            return ["reboot-required"]

    def _repository(self, upgrades, available, folder):
        if folder:
            stanzas = [self._stanza_of_file(item, folder) for item in [*upgrades, *available]]
        else:
            stanzas = self._offers.stanzas([*upgrades, *available])
        repository = PrivateRepository(self.shell, self._home, folder or "/nonexistent")
        repository.build([stanza for stanza in stanzas if stanza])
        return repository

    def _old_repository(self, back, folder):
        repository = PrivateRepository(self.shell, self._home, folder)
        repository.build([self._stanza_of_file(one, folder) for one in back])
        return repository

    def _stanza_of_file(self, item, folder):
        path = os.path.join(folder, item.filename)
        if not os.path.exists(path):
            return ""
        control = self._read(["dpkg-deb", "--field", path])
        return index_stanza(control, item.filename, os.path.getsize(path), item.sha256)

    def _simulate(self, arguments, options, upgrades=()):
        done = self.shell.run(["apt-get", *options, "-s", "-q", *arguments], timeout=READING)
        if done.rc != 0:
            return Simulation([], ["apt-get: %s" % _reason(done)])
        found = parse_transitions(done.out, self.architecture())
        kept = {item.name for item in upgrades} - {one.name for one in found}
        if not kept:
            return Simulation(found, [])
        why = [argument(item) + "=" + item.version for item in upgrades if item.name in kept]
        told = self.shell.run(["apt-get", *options, "-s", "-q", "install", *why], timeout=READING)
        return Simulation(found, ["kept back %s: %s" % (", ".join(sorted(kept)), _reason(told))])

    def _change(self, arguments, log):
        self._run(["apt-get", *_CHANGING, *arguments], log)

    def _run(self, argv, log):
        done = self.shell.run(argv)
        with open(log, "a", encoding="utf-8") as file:
            file.write("%s\n%s%s" % (" ".join(argv), done.out, done.err))
        if done.rc != 0:
            told = last_words(done.out + done.err)
            raise PatchError("%s ended with %d: %s. All of it is in %s." % (argv[0], done.rc, told, log))

    def _interrupted(self):
        return any(name.isdigit() for name in _listed("/var/lib/dpkg/updates"))

    def _from_cache(self, package, folder):
        target = os.path.join(folder, file_name(package))
        for path in (target, os.path.join("/var/cache/apt/archives", file_name(package))):
            done = self.shell.run(["dpkg-deb", "--field", path, "Version"]) if os.path.exists(path) else None
            if done and done.rc == 0 and done.out.strip() == package.version:
                if path != target:
                    shutil.copyfile(path, target)
                return "cache"
        return ""

    def _auto(self):
        """Read apt's own file of marks; arch-independent packages stand in it under the native architecture."""
        found = set()
        try:
            with open(self._states, encoding="utf-8") as file:
                for fields in parse_stanzas(file.read()):
                    if fields.get("Auto-Installed") == "1":
                        found.add((fields["Package"], fields["Architecture"]))
        except FileNotFoundError:
            return found
        return found | {(name, "all") for name, arch in found if arch == self.architecture()}

    def _read(self, argv):
        return read(self.shell, argv)


def _as_item(package):
    return Item(package.name, package.arch, package.version, "", "", file_name(package), 0)


def _secured(package, folder, source):
    name = file_name(package)
    return Secured(package.name, package.arch, package.version, name, sha256_of(os.path.join(folder, name)), source)


def _restoring(back, remove):
    wanted = ["%s=%s" % (argument(one), one.version) for one in back]
    unwanted = ["%s-" % (name[:-4] if name.endswith(":all") else name) for name in sorted(remove)]
    return ["install", "--allow-downgrades", "--allow-change-held-packages", "--purge", *wanted, *unwanted]


def _reason(done):
    """Say why apt refuses: the unmet dependencies, or else its last words."""
    text = done.out + "\n" + done.err
    unmet = re.search(r"following packages have unmet dependencies:\n((?: .*\n)+)", text)
    return " ".join(unmet.group(1).split()) if unmet else last_words(text)


def _locked():
    found = []
    for path in ("/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock"):
        try:
            with open(path, "r+") as file:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                found.append(path)
    return found


def _listed(folder):
    try:
        return os.listdir(folder)
    except OSError:
        return []
