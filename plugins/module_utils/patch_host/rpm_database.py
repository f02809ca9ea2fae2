"""What rpm itself knows: the installed packages, and what a package file holds."""

import os
import typing

from ansible.module_utils.patch_host.errors import PatchError
from ansible.module_utils.patch_host.rpm_versions import sort_key, version_text

# The digest over the header covers the digests of all files: equal digests are the very same build.
_DIGEST = "%|SHA256HEADER?{%{SHA256HEADER}}:{%{SHA1HEADER}}|"
_FORMAT = (
    "%{NAME}\\t%|EPOCH?{%{EPOCH}}:{0}|\\t%{VERSION}\\t%{RELEASE}\\t%{ARCH}\\t%|INSTALLTIME?{%{INSTALLTIME}}:{0}|\\t"
    + _DIGEST
    + "\\n"
)
_READING = 300


class Row(typing.NamedTuple):
    """One package of the database or one package file. `digest` tells builds of the same version apart."""

    name: str
    arch: str
    version: str
    installed_at: int
    digest: str

    @property
    def key(self):
        return "%s:%s" % (self.name, self.arch)


def rows(shell):
    """List every installed package, older versions of one name before newer ones. Keys are no packages."""
    done = shell.run(["rpm", "-qa", "--qf", _FORMAT], timeout=_READING)
    if done.rc != 0:
        raise PatchError("The installed packages were asked for, but rpm -qa said: %s" % last_words(done))
    found = [row for row in map(_parsed, done.out.splitlines()) if row is not None]
    return sorted(found, key=lambda row: (row.name, row.arch, sort_key(row.version)))


def newest(found):
    """Return {"name:arch": version}; of several versions of one package the newest."""
    return {row.key: row.version for row in found}


def duplicates(found, may_be_several):
    """Name the packages of which two versions are installed although there can be one: a transaction broke off."""
    seen, twice = set(), set()
    for row in found:
        if row.key in seen and not may_be_several(row.name):
            twice.add(row.key)
        seen.add(row.key)
    return twice


def read_files(shell, paths):
    """Return {path: Row} of the package files that can be read; signatures are the package manager's business."""
    if not paths:
        return {}
    # rpm answers in order and leaves out what it cannot read; where one is missing, halving finds it.
    done = shell.run(["rpm", "-qp", "--nosignature", "--nodigest", "--qf", _FORMAT, *paths], timeout=_READING)
    known = [row for row in map(_parsed, done.out.splitlines()) if row is not None]
    if len(known) == len(paths):
        return dict(zip(paths, known))
    if len(paths) == 1:
        return {}
    half = len(paths) // 2
    return dict(read_files(shell, paths[:half]), **read_files(shell, paths[half:]))


def file_name(name, arch, version):
    """Return the name that a repository gives the file: without the epoch."""
    return "%s-%s.%s.rpm" % (name, version.partition(":")[2] or version, arch)


def last_words(done, lines=6):
    """Return the end of what a program said, for a message."""
    text = [line.strip() for line in (done.out + "\n" + done.err).splitlines() if line.strip()]
    return " | ".join(text[-lines:]) or "nothing (exit code %d)" % done.rc


def packages_in(folders):
    """List the package files below the folders."""
    found = []
    for folder in folders:
        for path, _folders, names in os.walk(folder):
            found += [os.path.join(path, name) for name in names if name.endswith(".rpm")]
    return sorted(found)


def _parsed(line):
    fields = line.split("\t")
    if len(fields) != 7 or fields[0] == "gpg-pubkey":
        return None
    name, epoch, version, release, arch, installed_at, digest = fields
    return Row(name, arch, version_text(epoch, version, release), int(installed_at), digest)
