"""zypper's marks on disk: the locks of an administrator, and the list of automatically installed packages."""

import fnmatch
import os
import re
import typing

from ansible.module_utils.patch_host.rpm_versions import split_version


class Lock(typing.NamedTuple):
    """One lock. `how` says how `pattern` is compared with the name: exact, glob, substring, regex, word."""

    pattern: str
    how: str

    def hold(self, name):
        if self.how == "exact":
            return name == self.pattern
        if self.how == "glob":
            return fnmatch.fnmatchcase(name, self.pattern)
        if self.how == "regex":
            return bool(re.search(self.pattern, name))
        return self.pattern in name


class Locks(typing.NamedTuple):
    """All locks on packages. A lock with a version or a repository counts whole: to hold too much is the safe side."""

    locks: typing.List[Lock]

    def hold(self, name, _arch="", _version=""):
        return any(lock.hold(name) for lock in self.locks)

    def exactly(self, name):
        """Whether a lock of just this name is there, one that `removelock NAME` takes away."""
        return any(lock.pattern == name for lock in self.locks)


def read_locks(path):
    """Read the file of locks: stanzas of `key: value`."""
    found = []
    for stanza in re.split(r"\n\s*\n", _read(path)):
        fields = dict(re.findall(r"^(\w+):[ \t]*(.*?)[ \t]*$", stanza, re.MULTILINE))
        if fields.get("solvable_name") and fields.get("type", "package") == "package":
            found.append(Lock(fields["solvable_name"], fields.get("match_type", "glob")))
    return Locks(found)


def read_auto(path):
    """Return the names of packages that came in as dependencies."""
    return {line.strip() for line in _read(path).splitlines() if line.strip() and not line.startswith("#")}


def write_auto(path, names):
    """Replace the list."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write("# AutoInstalled\n#\n%s#\n" % "".join(name + "\n" for name in sorted(names)))
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".new", path)


def capability(name, arch, version):
    """Write exactly this package for zypper's command line."""
    epoch, bare, release = split_version(version)
    return "%s.%s=%s%s-%s" % (name, arch, "" if epoch == "0" else epoch + ":", bare, release)


def _read(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return ""
