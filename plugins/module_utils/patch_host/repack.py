"""Build a package's file again from what is installed, where no repository or cache has it any more.

What comes out installs the same files, scripts and relations. Configuration files are in it as they stand on the host.
"""

import os
import shutil
import stat
import tempfile

from ansible.module_utils.patch_host.apt_text import last_words, parse_stanzas
from ansible.module_utils.patch_host.files import make_folder

_SCRIPTS = ("preinst", "postinst", "prerm", "postrm", "config")
# `list` is dpkg's own; `conffiles` is written from the status, which also knows of obsolete ones.
_NOT_CONTROL = ("list", "conffiles")
# Folders in every package, links on a host with a merged /usr.
_MERGED = {"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"}
_NOT_IN_CONTROL = ("Status", "Config-Version", "Conffiles")


class Repacker:
    """Rebuilds packages of this host; `admindir` and `root` are given by tests."""

    def __init__(self, shell, admindir="/var/lib/dpkg", root="/"):
        self.shell = shell
        self._info = os.path.join(admindir, "info")
        self._diversions = _read_diversions(os.path.join(admindir, "diversions"))
        self._root = root

    def repack(self, package, target):
        """Write the file of an installed `Package` to `target`. Return "" or what stood in the way."""
        full = "%s:%s" % (package.name, package.arch) if package.arch != "all" else package.name
        done = self.shell.run(["dpkg-query", "--status", full], timeout=60)
        stanzas = parse_stanzas(done.out)
        if done.rc != 0 or not stanzas:
            return "dpkg-query does not know it: %s" % last_words(done.err)
        work = tempfile.mkdtemp(prefix="repack-", dir=make_folder(os.path.dirname(target)))
        os.chmod(work, 0o755)  # it becomes the package's own "/"
        try:
            gone = self._fill(package.name, package.arch, work)
            if gone:
                return "files are missing on the host (%s)" % ", ".join(gone[:3])
            self._write_control(package.name, package.arch, stanzas[0], work)
            done = self.shell.run(["dpkg-deb", "-Zgzip", "-z1", "--build", work, target])
            return "" if done.rc == 0 else last_words(done.err)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _fill(self, name, arch, work):
        """Copy the package's files; return the paths that are not there (configuration files excepted)."""
        listed = [line for line in self._lines(name, arch, "list") if line not in ("/.", "")]
        folders = {os.path.dirname(path) for path in listed} | _MERGED
        conffiles = set(self._lines(name, arch, "conffiles"))
        gone, links = [], {}
        for path in listed:
            actual = self._diverted(path, name)
            source, target = self._root + actual.lstrip("/"), work + path
            if path in folders:
                _copy_folder(source, target)
            elif os.path.lexists(source):
                _copy(source, target, links)
            elif path not in conffiles:
                gone.append(path)
        return gone

    def _write_control(self, name, arch, stanza, work):
        folder = os.path.join(work, "DEBIAN")
        os.makedirs(folder, 0o755)
        os.chmod(folder, 0o755)
        for kind, path in self._control_files(name, arch):
            if kind not in _NOT_CONTROL:
                shutil.copyfile(path, os.path.join(folder, kind))
                os.chmod(os.path.join(folder, kind), 0o755 if kind in _SCRIPTS else 0o644)
        kept = [path for path in self._lines(name, arch, "conffiles") if os.path.lexists(work + path.split()[-1])]
        if kept:
            _write(os.path.join(folder, "conffiles"), "\n".join(kept) + "\n")
        _write(os.path.join(folder, "control"), _without(stanza[""], _NOT_IN_CONTROL) + "\n")

    def _control_files(self, name, arch):
        for prefix in ("%s:%s." % (name, arch), name + "."):
            found = [entry for entry in os.listdir(self._info) if entry.startswith(prefix)]
            if prefix + "list" in found:
                return [(entry[len(prefix) :], os.path.join(self._info, entry)) for entry in sorted(found)]
        return []

    def _lines(self, name, arch, kind):
        for found, path in self._control_files(name, arch):
            if found == kind:
                with open(path, encoding="utf-8") as file:
                    return file.read().splitlines()
        return []

    def _diverted(self, path, name):
        target, owner = self._diversions.get(path, (path, name))
        return path if owner == name else target


def _read_diversions(path):
    """Map a path to (where its file is kept, the package whose own file stays in place), dpkg-divert(1)."""
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        return {}
    return {lines[n]: (lines[n + 1], lines[n + 2]) for n in range(0, len(lines) - 2, 3)}


def _copy_folder(source, target):
    """Make the folder as it stands; /lib is a folder in the package even where the host has a link instead."""
    os.makedirs(target, 0o755, exist_ok=True)
    if os.path.isdir(source):
        found = os.stat(source)
        os.chmod(target, stat.S_IMODE(found.st_mode))
        os.chown(target, found.st_uid, found.st_gid)


def _copy(source, target, links):
    """Copy one file, link or folder; `links` maps inodes to copies, so that hard links stay links."""
    found = os.lstat(source)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if stat.S_ISDIR(found.st_mode):
        _copy_folder(source, target)
        return
    if stat.S_ISLNK(found.st_mode):
        os.symlink(os.readlink(source), target)
    elif found.st_ino in links:
        os.link(links[found.st_ino], target)
    else:
        if found.st_nlink > 1:
            links[found.st_ino] = target
        shutil.copyfile(source, target)
        os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))
    os.chown(target, found.st_uid, found.st_gid, follow_symlinks=False)
    if not stat.S_ISLNK(found.st_mode):
        os.chmod(target, stat.S_IMODE(found.st_mode))


def _without(text, fields):
    """Leave fields out of a control stanza, with the lines that continue them."""
    kept, skipping = [], False
    for line in text.splitlines():
        if not line[:1].isspace():
            skipping = line.split(":")[0] in fields
        if not skipping:
            kept.append(line)
    return "\n".join(kept)


def _write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, 0o644)
