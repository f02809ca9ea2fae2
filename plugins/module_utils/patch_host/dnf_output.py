"""Read what dnf 4 prints: transaction tables, problems, advisories."""

import calendar
import re
import time
import typing

from ansible.module_utils.patch_host.rpm_versions import split_nevra

_SECTION = re.compile(r"^(Installing|Upgrading|Downgrading|Reinstalling|Removing|Skipping)\b.*:$")
_REPLACING = re.compile(r"^ +replacing  (\S+)\.(\S+) (\S+)$")
_ADVISORY = re.compile(r"^\s*(Update ID|Type|Updated|Severity): (.*)$")


class Advisory(typing.NamedTuple):
    """What one advisory says of one package."""

    id: str
    kind: str
    severity: str
    published: int
    version: str


def read_transaction(out, err):
    """Return (changes [(new | gone, name, arch, version)], problems) of a transaction that dnf shows."""
    changes, problems = [], []
    section, row = "", []
    for line in out.splitlines():
        heading, replaced = _SECTION.match(line), _REPLACING.match(line)
        if heading:
            section, row = heading.group(1), []
        elif line == "Transaction Summary":
            section = ""
        elif replaced:
            changes.append(("gone", *replaced.groups()))
        elif section and line.startswith(" "):
            # A long name stands on a line of its own, and the rest of its row on the next.
            row += line.split()
            if len(row) >= 5:
                _note(section, row, changes, problems)
                row = []
    return changes, problems + _complaints(out, r"Problem", r"\s+- ") + _complaints(err, r"Error|Problem", r"\s")


def read_advisories(listed, told):
    """Return {(name, arch): [Advisory]} from what `updateinfo list` and `updateinfo info` print."""
    about, current = {}, {}
    for field, value in (found.groups() for found in map(_ADVISORY.match, told.splitlines()) if found):
        if field == "Update ID":
            current = about.setdefault(value, {})
        else:
            current.setdefault(field, value)
    packages = {}
    for fields in (line.split() for line in listed.splitlines()):
        if len(fields) < 3:
            continue
        name, version, arch = split_nevra(fields[-1])
        if not (name and arch):
            continue  # what a plugin has to say (subscription-manager) stands between the lines
        packages.setdefault((name, arch), []).append(_advisory(fields[0], about.get(fields[0], {}), version))
    return packages


def _advisory(identifier, known, version):
    severity = known.get("Severity", "").lower()
    return Advisory(
        id=identifier,
        kind=known.get("Type", "unknown"),
        severity="" if severity == "none" else severity,
        published=_seconds(known.get("Updated", "")),
        version=version,
    )


def _note(section, row, changes, problems):
    name, arch, version = row[:3]
    if section in ("Installing", "Upgrading", "Downgrading"):
        changes.append(("new", name, arch, version))
    elif section == "Removing":
        changes.append(("gone", name, arch, version))
    elif section == "Skipping":
        problems.append(
            "dnf would leave %s-%s.%s out: it conflicts, or dependencies are broken" % (name, version, arch)
        )


def _complaints(text, begin, go_on):
    """List the sentences of errors: lines that begin like one, each with the lines that go on with it."""
    found = []
    for line in text.splitlines():
        bare = line.strip()
        if not bare or bare in ("Error: Operation aborted.", "Operation aborted.", "Error:"):
            continue
        if re.match(begin, bare):
            found.append(bare)
        elif found and re.match(go_on, line):
            found[-1] += " " + bare
    return found


def _seconds(text):
    """Read a date that dnf printed in UTC; 0 for none."""
    try:
        return calendar.timegm(time.strptime(text, "%Y-%m-%d %H:%M:%S"))
    except ValueError:
        return 0
