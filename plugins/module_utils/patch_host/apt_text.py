"""Read what apt and dpkg print; pure functions of text."""

import re
import typing

from ansible.module_utils.patch_host.model import Transition

_INSTALL = re.compile(r"^Inst (\S+) (?:\[([^\]]+)\] )?\((\S+) .*?\[([^\]]+)\]\)")
_REMOVE = re.compile(r"^(?:Remv|Purg) (\S+) \[([^\]]+)\]")
_SECURITY = re.compile(r"security", re.IGNORECASE)


class Release(typing.NamedTuple):
    """What a repository says of itself, as `apt-cache policy` shows it (v=, o=, a=, n=, l=)."""

    version: str
    origin: str
    archive: str
    codename: str
    label: str

    def is_security(self):
        return any(_SECURITY.search(value) for value in (self.archive, self.codename, self.label))

    def describe(self):
        """Name the origin as reports do: "Debian:12/Debian-Security"."""
        where = ":".join(value for value in (self.origin, self.version) if value)
        return "/".join(value for value in (where, self.label or self.archive) if value)


class Offer(typing.NamedTuple):
    """What `apt-cache policy NAME` says of one package."""

    installed: str
    candidate: str
    sources: typing.Dict[str, typing.List[str]]  # version -> "URL suite/component" of the repositories that have it


def parse_transitions(text, native):
    """Read the Inst, Remv and Purg lines of `apt-get -s`."""
    found = []
    for line in text.splitlines():
        match = _INSTALL.match(line)
        if match:
            full, old, new, arch = match.groups()
            found.append(Transition(full.split(":")[0], arch, old or "", new))
            continue
        match = _REMOVE.match(line)
        if match:
            name, _colon, arch = match.group(1).partition(":")
            found.append(Transition(name, arch or native, match.group(2), ""))
    return found


def parse_releases(text):
    """Map "URL suite/component" to its `Release`, from `apt-cache policy` without arguments."""
    found, source = {}, ""
    for line in text.splitlines():
        match = re.match(r"\s*-?\d+ (\S+ \S+) .*Packages$", line)
        if match:
            source = match.group(1)
        elif line.strip().startswith("release ") and source:
            values = dict(part.split("=", 1) for part in line.strip()[8:].split(",") if "=" in part)
            found[source] = Release(*(values.get(key, "") for key in "voanl"))
            source = ""
        elif re.match(r"\s*-?\d+ ", line):
            source = ""
    return found


def parse_policy(text):
    """Map names as they were asked for to `Offer`, from `apt-cache policy NAME…`."""
    found, name, version = {}, "", ""
    for line in text.splitlines():
        if line and not line[0].isspace():
            name = line.rstrip(":")
            found[name] = Offer("", "", {})
        elif line.startswith("  Installed: "):
            found[name] = found[name]._replace(installed=_known(line[13:]))
        elif line.startswith("  Candidate: "):
            found[name] = found[name]._replace(candidate=_known(line[13:]))
        else:
            match = re.match(r"(?: \*\*\*|    ) (\S+) -?\d+(?: \(phased \d+%\))?$", line)
            if match:
                version = match.group(1)
                found[name].sources[version] = []
                continue
            match = re.match(r"\s+-?\d+ (\S+ \S+) \S+ Packages$", line)
            if match:
                found[name].sources[version].append(match.group(1))
    return found


def parse_stanzas(text):
    """Read control stanzas; each is a dictionary with the key "" for its whole text."""
    stanzas = []
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        fields = {"": block}
        for match in re.finditer(r"^([A-Za-z0-9-]+):[ \t]*(.*)$", block, re.MULTILINE):
            fields[match.group(1)] = match.group(2).strip()
        if "Package" in fields:
            stanzas.append(fields)
    return stanzas


def last_words(text, lines=6):
    """Return what a tool said last, errors before all else, in one line."""
    kept = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in kept if re.match(r"(E:|dpkg: error|.*\berror\b)", line)]
    return "; ".join((errors or kept)[-lines:])[:800]


def _known(value):
    value = value.strip()
    return "" if value == "(none)" else value
