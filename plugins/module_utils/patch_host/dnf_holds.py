"""What an administrator keeps dnf from touching: exclude= in dnf.conf, and the versionlock plugin's list."""

import configparser
import fnmatch
import os
import re
import typing

from ansible.module_utils.patch_host.errors import PatchError
from ansible.module_utils.patch_host.rpm_versions import split_version


class Holds(typing.NamedTuple):
    """Patterns as dnf reads them: a name, or a name with version, release, epoch, architecture."""

    excluded: typing.List[str]
    locked: typing.List[str]

    def hold(self, name, arch, version):
        """Whether this version of a package is not to come or go."""
        forms = _forms(name, arch, version)
        patterns = self.excluded + [entry for entry in self.locked if not entry.startswith("!")]
        patterns += [entry[1:] for entry in self.locked if entry.startswith("!")]
        if any(fnmatch.fnmatchcase(form, pattern) for pattern in patterns for form in forms):
            return True
        # A lock names the one version that may be: it keeps every other one of that name away.
        return any(fnmatch.fnmatchcase(name, _name(entry)) for entry in self.locked if not entry.startswith("!"))


def read_holds(configuration, versionlock):
    """Read dnf's and the plugin's configuration; what is not there holds nothing."""
    main = _section(configuration)
    words = " ".join(main.get(key, "") for key in ("exclude", "excludepkgs"))
    plugin = _section(versionlock)
    entries = []
    if plugin.get("enabled", "0").lower() in ("1", "true", "yes", "on"):
        entries = _lines(plugin.get("locklist", ""))
    return Holds([word for word in re.split(r"[,\s]+", words) if word], entries)


def _section(path):
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as error:
        raise PatchError("The packages on hold were asked for, but %s cannot be read: %s" % (path, error))
    return dict(parser.items("main")) if parser.has_section("main") else {}


def _lines(path):
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        return [line.strip() for line in file if line.strip() and not line.startswith("#")]


def _forms(name, arch, version):
    epoch, bare, release = split_version(version)
    full = "%s-%s" % (bare, release)
    written = ["%s-%s" % (name, part) for part in (bare, full, "%s:%s" % (epoch, full))]
    return [name, *written] + ["%s.%s" % (form, arch) for form in [name, *written]]


def _name(entry):
    """Return the name in a lock such as bash-0:5.1-2.el9.*; the entry itself where there is no version."""
    found = re.match(r"(.+)-(\d+:)?[^-:]+-[^-]+$", entry)
    return found.group(1) if found else entry
